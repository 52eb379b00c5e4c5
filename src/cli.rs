//! The command line: what was asked for, and doing it.

mod bars;
mod client;
mod exchange;
mod import;
mod mapping;
mod output;
mod query;
mod query_text;
mod store;
mod top;

use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Mapping};
use crate::daemon::service::Service;
use crate::daemon::{Daemon, allocator, retention_change};
use crate::http::auth;
use crate::ingest::Inherited;
use crate::model::duration;
use crate::notify::Receiver;
use crate::protocol::TagStyles;
use clap::{Args, Parser, Subcommand};
use std::io::{self, IsTerminal, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  statsdeck                                 run with no config: StatsD on udp 8125, pages on http 8127
  statsdeck --config statsdeck.toml         run with a config
  statsdeck check statsdeck.toml            say what is wrong with a config, by line and key
  statsdeck test-mapping web.api.latency    say which mapping takes a name, and why
  statsdeck query 'increase(x[1h])'          ask the running daemon in PromQL
  statsdeck top --by label                  say who makes the series of the running daemon
  statsdeck export --from 1d > all.csv      write what is stored as CSV
  statsdeck import /var/lib/graphite/whisper  fill the past from Graphite's files
  statsdeck store verify                    read all data against its checksums
  statsdeck token new                       make an API key and its hash for the config
  echo 'etl.records:1|c' | nc -u -w0 127.0.0.1 8125";

const NO_WATCHDOG: Duration = Duration::from_secs(3600);

/// StatsD in; rollups on disk, PromQL, dashboard, scrape endpoint and alert notices out.
#[derive(Debug, Parser)]
#[command(name = "statsdeck", version, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Clone, Debug, Default, Args)]
struct RunArgs {
    /// Config file (TOML); without one, defaults hold.
    #[arg(long, value_name = "FILE", env = "STATSDECK_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Where the data is kept; wins over the config.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// Start also where the tiers of the config keep less than those of the last
    /// time: what they do not keep is dropped. `check` says what that is.
    #[arg(long, global = true)]
    accept_data_loss: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (the default).
    Run,
    /// Check a config file and say what it would do.
    Check {
        /// The file; else that of --config.
        file: Option<PathBuf>,
    },
    /// Say which mapping takes a name, why, and what becomes of it.
    TestMapping(mapping::TestMappingArgs),
    /// Ask a running daemon in PromQL.
    Query(query::QueryArgs),
    /// Say who makes the series of a running daemon.
    Top {
        /// Where it answers; else the http.address of the config. A token, where one is needed, is taken
        /// from STATSDECK_TOKEN.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        #[arg(long, value_enum, default_value = "name")]
        by: top::By,
        /// How many to show.
        #[arg(short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        number: u16,
    },
    /// Write what is stored as CSV, JSON lines, OpenMetrics text, Parquet or an HDR histogram log.
    Export(exchange::ExportArgs),
    /// Fill the past from OpenMetrics or Prometheus text, or from Whisper files. Stop the daemon first.
    Import(import::ImportArgs),
    /// Say what is in the data directory, check all of it, or repair it.
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Make API keys.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Ask a running daemon whether it is alive; for container health checks.
    Healthcheck {
        /// Address of its HTTP port; else that of the config.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<SocketAddr>,
    },
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a new API key and the lines for the config.
    New {
        /// Name of the key in the config.
        #[arg(long, default_value = "etl")]
        name: String,
    },
}

/// Runs the program; the exit code is 0, 1 when it failed, 2 when it was
/// called wrongly.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None | Some(Command::Run) => run(&cli.run),
        Some(Command::Check { file }) => {
            check(&RunArgs { config: file.or(cli.run.config.clone()), ..cli.run })
        }
        Some(Command::TestMapping(args)) => test_mapping(&cli.run, &args),
        Some(Command::Query(args)) => {
            daemon_url(&cli.run, args.url.clone()).and_then(|url| query::query(&url, &args))
        }
        Some(Command::Top { url, by, number }) => show_top(&cli.run, url, by, number),
        Some(Command::Export(args)) => {
            load(&cli.run).map_err(anyhow::Error::from).and_then(|config| exchange::export(&config, &args))
        }
        Some(Command::Import(args)) => {
            load(&cli.run).map_err(anyhow::Error::from).and_then(|config| import::import(&config, &args))
        }
        Some(Command::Store { command }) => load(&cli.run)
            .map_err(anyhow::Error::from)
            .and_then(|config| store::run(&config.data_dir, command)),
        Some(Command::Token { command: TokenCommand::New { name } }) => token_new(&name),
        Some(Command::Healthcheck { address }) => healthcheck(&cli.run, address),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody can be told, the code does.
            let _ = writeln!(io::stderr(), "statsdeck: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who reads our words has read enough, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn load(args: &RunArgs) -> Result<Config, crate::config::Error> {
    let env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut config = Config::load(args.config.as_deref(), &env)?;
    if let Some(dir) = &args.data_dir {
        config.data_dir = dir.clone();
    }
    config.accepts_loss = args.accept_data_loss;
    Ok(config)
}

fn run(args: &RunArgs) -> anyhow::Result<()> {
    allocator::tune();
    log_to_stderr();
    // First of all: the numbers of the sockets must not be anything else's.
    let env = |name: &str| std::env::var(name).ok();
    let inherited = Inherited::from_env(env, std::process::id())
        .map_err(|error| anyhow::anyhow!("a socket that LISTEN_FDS announces is not open: {error}"))?;
    let service = Service::from_env(env, std::process::id())
        .map_err(|error| anyhow::anyhow!("NOTIFY_SOCKET names no socket: {error}"))?;
    let config = load(args)?;
    let reload_args = args.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let reload = Box::new(move || load(&reload_args));
        let mut daemon = Daemon::start_on(inherited, config, reload, clock).await?;
        for address in daemon.addresses() {
            tracing::info!("taking StatsD on {address}");
        }
        if let Some(address) = daemon.admin_address() {
            tracing::info!("management port on tcp://{address}");
        }
        tracing::info!("dashboard on http://{}/dashboard", daemon.http_address());
        service.ready();
        // Without a watchdog once in a long while, to nobody.
        let mut watchdog = tokio::time::interval(service.watchdog_interval().unwrap_or(NO_WATCHDOG));
        loop {
            tokio::select! {
                _ = watchdog.tick() => if service.watchdog_interval().is_some() && daemon.is_healthy() {
                    service.alive();
                },
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                // Whoever sent the signal reads the log.
                _ = hangup.recv() => { let _ = daemon.reload().await; }
                // Done out of the race, so that no signal breaks it off half-way.
                answer = daemon.reload_request() => { let _ = answer.send(daemon.reload().await); }
            }
        }
        service.stopping();
        tracing::info!("stopping: flushing the open window");
        daemon.stop().await;
        tracing::info!("stopped");
        Ok(())
    })
}

/// For people on a terminal, JSON for machines otherwise.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        log.compact().with_target(false).init();
    } else {
        log.json().flatten_event(true).init();
    }
}

fn check(args: &RunArgs) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let config = load(args)?;
    for target in &config.receivers {
        if let Err(error) = target.receiver.endpoint().check() {
            anyhow::bail!("receiver {:?}: {error}", target.name);
        }
    }
    let shown =
        args.config.as_ref().map_or("no file, all defaults".into(), |file| file.display().to_string());
    writeln!(out, "{shown}: ok")?;
    for listener in &config.listeners {
        let dialect = match listener.dialect {
            crate::protocol::Dialect::Statsd => "statsd: a signed gauge is a change",
            crate::protocol::Dialect::Dogstatsd => "dogstatsd: a signed gauge is a value",
        };
        writeln!(out, "  listens on {} ({dialect})", listener.socket.address)?;
    }
    if let Some(admin) = &config.admin {
        writeln!(out, "  has the management port on tcp://{}", admin.address)?;
    }
    writeln!(out, "  answers on http://{}", config.http.address)?;
    let windows = (config.windows.interval_ms, config.tiers.windows_retention_ms);
    let coarser = config.tiers.coarser.iter().map(|tier| (tier.resolution_ms, tier.retention_ms));
    let shown_ms = |ms: i64| duration::format_ms(ms as u64);
    let tiers: Vec<String> = std::iter::once(windows)
        .chain(coarser)
        .map(|(resolution_ms, retention_ms)| {
            format!("steps of {} for {}", shown_ms(resolution_ms), shown_ms(retention_ms))
        })
        .collect();
    writeln!(out, "  keeps data in {}: {}", config.data_dir.display(), tiers.join(", "))?;
    match retention_change::losses(&config, SystemClock.now_ms()) {
        Ok(losses) => {
            for loss in &losses {
                writeln!(out, "  needs {}: {}", retention_change::FLAG, retention_change::describe(loss))?;
            }
        }
        Err(error) => writeln!(out, "  cannot say what it would drop of the data: {error}")?,
    }
    for token in &config.http.tokens {
        writeln!(out, "  knows the API key {:?} ({:?})", token.name, token.scopes)?;
    }
    for line in mapping::summary(&config.mapping) {
        println!("  {line}");
    }
    for view in &config.views {
        writeln!(out, "  shows {:?} at /dashboard?view={}", view.title, view.id)?;
    }
    for rule in &config.rules {
        writeln!(out, "  alerts {:?} when {}", rule.name, rule.expr.text())?;
    }
    for target in &config.receivers {
        let receiver = &target.receiver;
        writeln!(out, "  tells {:?} by {} at {}", target.name, receiver.kind(), receiver.endpoint())?;
    }
    if config.receivers.is_empty() && !config.rules.is_empty() {
        writeln!(out, "  tells nobody: there is no [[receiver]]")?;
    }
    Ok(())
}

fn test_mapping(run: &RunArgs, args: &mapping::TestMappingArgs) -> anyhow::Result<()> {
    let (mapping, tag_styles) = if args.files.is_empty() {
        let config = load(run)?;
        let first = config.listeners.first().map(|listener| listener.tag_styles);
        (config.mapping, first.unwrap_or(TagStyles::ALL))
    } else {
        (Mapping::load(&args.files)?, TagStyles::ALL)
    };
    print!("{}", mapping::explanation(&mapping.mapper, tag_styles, args)?);
    Ok(())
}

/// Where a daemon answers.
fn daemon_url(args: &RunArgs, url: Option<String>) -> anyhow::Result<String> {
    match url {
        Some(url) => Ok(url),
        None => Ok(format!("http://{}", load(args)?.http.address)),
    }
}

fn show_top(args: &RunArgs, url: Option<String>, by: top::By, number: u16) -> anyhow::Result<()> {
    let url = daemon_url(args, url)?;
    write!(io::stdout().lock(), "{}", top::top(&url, by, number)?)?;
    Ok(())
}

fn token_new(name: &str) -> anyhow::Result<()> {
    if name.is_empty() || name.contains('|') {
        anyhow::bail!("a key's name is not empty and has no '|'");
    }
    let mut out = io::stdout().lock();
    let key = auth::new_key()?;
    writeln!(out, "API key (shown once, give it to the sender):\n  {key}\n")?;
    writeln!(
        out,
        "For the config:\n[[http.token]]\nname = {name:?}\nhash = \"{}\"",
        auth::format_hash(&key)
    )?;
    writeln!(out, "scopes = [\"write\"]")?;
    Ok(())
}

fn healthcheck(args: &RunArgs, address: Option<SocketAddr>) -> anyhow::Result<()> {
    use std::io::Read;
    let address = match address {
        Some(address) => address,
        None => load(args)?.http.address,
    };
    let timeout = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(
        format!("GET /-/healthy HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    anyhow::ensure!(answer.ends_with(b" 200"), "the daemon on {address} is not healthy");
    Ok(())
}

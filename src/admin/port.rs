//! The port: connections, lines, limits.
//!
//! A command ends with a line feed; as some scripts send none, what stands
//! there after a short pause, or at the end of the stream, is a command too.
//! Replies are made off the threads that serve connections; those that may name
//! every series one at a time, until they are read or given up. No other waits
//! for them: a health check is not to hang on somebody's slow connection.

use super::command::Command;
use super::state::AdminState;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Longest line in bytes.
pub const LINE_BYTES_MAX: usize = 4096;
/// Pause after which a line without its end is taken as it stands.
const UNENDED: Duration = Duration::from_millis(250);
/// How long one may write nothing, and how long a reply may take to be read.
const IDLE: Duration = Duration::from_secs(60);
const REPLY: Duration = Duration::from_secs(30);
/// A pause after a failed accept, such as for want of file descriptors.
const RETRY: Duration = Duration::from_millis(100);

/// What the connections share.
struct Shared {
    state: Arc<AdminState>,
    /// One reply that may be long at a time.
    turn: Semaphore,
}

/// Serves until `stop` becomes true; then open connections are cut.
pub async fn serve(
    listener: TcpListener,
    state: Arc<AdminState>,
    connections_max: u32,
    mut stop: watch::Receiver<bool>,
) {
    let shared = Arc::new(Shared { state, turn: Semaphore::new(1) });
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < connections_max as usize => {
                let shared = shared.clone();
                connections.spawn(async move {
                    if let Err(error) = talk(stream, &shared).await {
                        tracing::debug!(%error, "a connection to the management port ended early");
                    }
                });
            }
            Ok(_) => shared.state.counts.refused.add(1),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the management port");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    connections.shutdown().await;
}

/// Answers commands until the peer leaves, says so, or is silent for long.
async fn talk(mut stream: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    let mut held: Vec<u8> = Vec::with_capacity(256);
    loop {
        while let Some(end) = memchr::memchr(b'\n', &held) {
            let line: Vec<u8> = held.drain(..=end).collect();
            if !answer(&mut stream, shared, &line).await? {
                return Ok(());
            }
        }
        if held.len() > LINE_BYTES_MAX {
            shared.state.counts.cut.add(1);
            return timeout(REPLY, stream.write_all(b"ERROR\n")).await?;
        }
        let patience = if held.is_empty() { IDLE } else { UNENDED };
        let mut chunk = [0; 1024];
        match timeout(patience, stream.read(&mut chunk)).await {
            Ok(Ok(read)) if read > 0 => held.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Ok(Err(error)) => return Err(error),
            Err(_) if !held.is_empty() => {
                if !answer(&mut stream, shared, &std::mem::take(&mut held)).await? {
                    return Ok(());
                }
            }
            Ok(Ok(_)) if !held.is_empty() => return answer(&mut stream, shared, &held).await.map(|_| ()),
            Ok(Ok(_)) | Err(_) => return Ok(()),
        }
    }
}

/// Answers one line; says whether the connection goes on.
async fn answer(stream: &mut TcpStream, shared: &Arc<Shared>, line: &[u8]) -> std::io::Result<bool> {
    let command = Command::parse(line);
    let counts = &shared.state.counts;
    counts.commands.add(1);
    match command {
        Command::Quit => return Ok(false),
        Command::Http => {
            counts.cut.add(1);
            return Ok(false);
        }
        _ => {}
    }
    let _turn = match command {
        Command::Show(_) | Command::Delete(..) => match shared.turn.acquire().await {
            Ok(turn) => Some(turn),
            Err(_) => return Ok(false),
        },
        _ => None,
    };
    let state = shared.state.clone();
    let reply = tokio::task::spawn_blocking(move || state.reply(&command)).await?;
    timeout(REPLY, stream.write_all(reply.as_bytes())).await??;
    Ok(true)
}

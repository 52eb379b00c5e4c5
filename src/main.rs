//! Entry point.

fn main() -> std::process::ExitCode {
    statsdeck::cli::main()
}

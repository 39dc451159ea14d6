//! The agent with the planted faults; only the feature `mutants` builds it, so that the sound one is never replaced.

fn main() -> std::process::ExitCode {
    wardpost::main()
}

//! What a contributor does beyond `cargo build`: each task is a subcommand, in a module of its own.

use anyhow::Result;
use clap::{Parser, Subcommand};

mod ebpf;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own tasks", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel side into ebpf/objects
    Ebpf(ebpf::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Ebpf(arguments) => ebpf::run(&arguments),
    }
}

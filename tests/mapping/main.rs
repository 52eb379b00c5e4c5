//! Mapping files as people have them: what becomes of lines, what is said of
//! files that are wrong, and what the command line tells.

#[path = "../harness/mod.rs"]
mod harness;

mod command;
mod daemon;
mod file;
mod line;
mod peer;

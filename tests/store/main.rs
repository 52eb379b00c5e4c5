//! The store from outside: what was appended is read back, after restarts,
//! crashes, faults of the disk and damaged files.

mod backfill;
mod compat;
mod crash;
mod damage;
mod model;
mod operation;
mod repair;
mod seams;
mod simulation;
mod tiers;
mod world;

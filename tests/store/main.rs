//! The store from outside: what was appended is read back, after restarts,
//! crashes, faults of the disk and damaged files.

mod answers;
mod backfill;
mod builds;
mod compat;
mod crash;
mod damage;
mod durable;
mod ends;
mod files;
mod gone;
mod known;
mod life;
mod model;
mod operation;
mod repair;
mod seams;
mod simulation;
mod tiers;
mod unread;
mod waiting;
mod world;
mod year;

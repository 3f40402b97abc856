//! The protocol against every interleaving that there is time for.
//!
//! `world` is an object store in which each call can be delayed, lost before or after it took effect,
//! and repeated. `actors` are receivers, stores and prunes, which run the real code. `run` lets one thing
//! happen after another. `check` has what must be true in the end, when all faults are over and every
//! store has read everything. `mutant` lists broken protocols, each of which must be found.
//!
//! `explore` runs every short schedule, and `random` long ones; `VIDIMUS_TURNS=1` makes the short ones
//! longer, and `VIDIMUS_SCHEDULES=1000000` sets how many random ones there are. A failure prints all
//! that happened, and the path or the seed.

mod actors;
mod check;
mod explore;
mod mutant;
mod random;
mod run;
mod world;

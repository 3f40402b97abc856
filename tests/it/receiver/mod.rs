//! The receiver as the real binary, over real sockets.

mod answers;
mod batches;
mod encodings;
mod faults;
mod hec;
mod hostile;
mod inputs;
mod lifecycle;
mod log;
mod refused;

//! What can go wrong between a program and its object store.

use std::time::Duration;

use fastrand::Rng;

use super::memory::Call;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It does not arrive. The connection ends.
    LoseRequest,
    /// It takes effect, and its answer is lost. The connection ends.
    LoseAnswer,
    /// The connection ends, and after this time the request takes effect.
    Late(Duration),
    /// It arrives twice. The answer to the second is sent.
    Repeat,
    /// It is carried out without its condition, as by a store that knows no conditions.
    IgnoreCondition,
    /// It is not carried out, and this status is answered: 403, 409, 500 or 503.
    Refuse(u16),
    /// It takes effect, but this status is answered.
    Deny(u16),
}

/// Chooses what happens to each request.
pub(crate) type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// Faults of every kind for so many of 1,000 requests. A request is late by up to `late`.
pub(crate) fn random(seed: u64, of_thousand: u32, late: Duration) -> Plan {
    let mut random = Rng::with_seed(seed);
    Box::new(move |call| {
        if random.u32(..1000) >= of_thousand {
            return None;
        }
        let status = *random.choice(&[409, 500, 503])?;
        Some(match random.u32(..6) {
            0 => Fault::LoseRequest,
            1 => Fault::LoseAnswer,
            2 => Fault::Late(late.mul_f64(random.f64())),
            3 => Fault::Repeat,
            // A conflict is an answer to a create alone.
            4 if status != 409 || call.is_create() => Fault::Refuse(status),
            5 if status != 409 => Fault::Deny(status),
            _ => Fault::Refuse(503),
        })
    })
}

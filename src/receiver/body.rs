//! The body as sent, within the caps. Its bytes are reserved as they come.

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::Caps;
use crate::net::{Budget, RequestBody, Reservation};

/// Why there is no body.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is over the cap.
    TooLarge,
    /// There was no room for it in time.
    Overloaded,
    /// It did not come in time, or the client left.
    Lost(String),
}

/// Reads the body of a request that was authorized.
pub async fn read(
    request: Request<RequestBody>,
    caps: &Caps,
    budget: &Budget,
) -> Result<(Vec<u8>, Reservation), BodyError> {
    let mut incoming = request.into_body();
    let announced = incoming.size_hint().exact();
    if announced.is_some_and(|length| length > caps.max_body as u64) {
        return Err(BodyError::TooLarge);
    }
    let (mut body, mut reservation) = (Vec::new(), budget.reserve());
    let deadline = Instant::now() + caps.body_timeout;
    loop {
        let frame = match timeout_at(deadline, incoming.frame()).await {
            Ok(None) => return Ok((body, reservation)),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(BodyError::Lost(format!("the body broke off: {error}")));
            }
            Err(_) => {
                let seconds = caps.body_timeout.as_secs();
                return Err(BodyError::Lost(format!("the body did not come within {seconds} s")));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if body.len() + data.len() > caps.max_body {
            return Err(BodyError::TooLarge);
        }
        reservation
            .grow(data.len(), Instant::now() + caps.queue_timeout)
            .await
            .map_err(|_| BodyError::Overloaded)?;
        body.extend_from_slice(&data);
    }
}

//! The socket that the service manager listens on and hands over (sd_listen_fds(3)).
//!
//! With it, connections wait in the system while the program is started anew, and a port below 1024
//! needs no privilege. Only TCP is taken, and only one socket: that of the receiver.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// Why a socket that was handed over cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HandedOverError {
    /// Nobody knows which is for what.
    #[error(
        "the service manager handed over {0} sockets, expected 1, for deliveries: name one address \
         (ListenStream=) in the socket unit"
    )]
    Several(usize),
    /// It is not of TCP, for example.
    #[error("the socket that the service manager handed over cannot be used: {0}")]
    Unfit(#[from] io::Error),
}

/// Takes the socket, if there is one. The variables that tell of it are removed from the environment,
/// so this comes before other threads are started.
///
/// # Errors
/// When there are several, or when it does not listen on TCP.
pub fn handed_over() -> Result<Option<TcpListener>, HandedOverError> {
    let mut sockets = ListenFd::from_env();
    if sockets.len() > 1 {
        return Err(HandedOverError::Several(sockets.len()));
    }
    let socket = sockets.take_tcp_listener(0)?;
    if let Some(socket) = &socket {
        socket.set_nonblocking(true)?;
    }
    Ok(socket)
}

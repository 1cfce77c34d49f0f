//! The listening socket that whoever started rank 0 hands over to it.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use rustix::io::FdFlags;
use rustix::net::sockopt;

use super::config::TcpConfig;

impl TcpConfig {
    /// Makes an inherited listening socket this rank's [`listener`](Self::listener). The descriptor is given up by
    /// whoever held it: it is closed when the ranks have met, and children do not inherit it.
    ///
    /// # Errors
    /// When the descriptor is no listening socket; it stays open then.
    pub fn take_listener(&mut self, descriptor: u32) -> io::Result<()> {
        // Looked at by its name: nothing owns the number before it is known to be a socket.
        let status = std::fs::metadata(format!("/proc/self/fd/{descriptor}"));
        let is_socket = status.is_ok_and(|status| status.file_type().is_socket());
        let Some(number) = i32::try_from(descriptor).ok().filter(|_| is_socket) else {
            return Err(io::Error::other(format!("descriptor {descriptor} is no socket")));
        };
        #[allow(unsafe_code, reason = "an inherited descriptor is a number")]
        // SAFETY: the descriptor is open, and the caller hands its ownership over.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
            // Not the one that was meant: it goes back to whoever holds the number.
            let _: i32 = socket.into_raw_fd();
            return Err(io::Error::other(format!("descriptor {descriptor} does not listen")));
        }
        rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        self.listener = Some(TcpListener::from(socket));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use super::*;

    #[test]
    fn only_a_listening_socket_is_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let handed_over = socket.as_fd().try_clone_to_owned().unwrap().into_raw_fd();
        let mut config = TcpConfig::new(0, 2, "");
        config.take_listener(handed_over as u32).unwrap();
        let listener = config.listener.unwrap();
        assert_eq!((listener.as_raw_fd(), listener.local_addr().unwrap()), (handed_over, address));

        let talking = std::net::TcpStream::connect(address).unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut config = TcpConfig::new(0, 2, "");
        for (descriptor, reason) in [
            (talking.as_raw_fd() as u32, "does not listen"),
            (file.as_raw_fd() as u32, "is no socket"),
            (u32::MAX, "is no socket"),
        ] {
            let error = config.take_listener(descriptor).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(config.listener.is_none() && talking.local_addr().is_ok() && file.metadata().is_ok());
    }
}

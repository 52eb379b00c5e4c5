//! The file of a Unix socket: who may have left it there, who may write to it,
//! and that only its owner removes it.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A bound socket's file; removed when this is dropped, unless another has
/// taken its place meanwhile.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    made: Mark,
}

/// Which file it is: its number alone may be given to the next one.
type Mark = (u64, u64, i64, i64);

fn mark(file: &fs::Metadata) -> Mark {
    (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

impl SocketFile {
    /// Binds `socket` to `path`, in place of a file that a socket without an
    /// owner left there, with access by `mode`.
    ///
    /// # Errors
    /// When another process takes packets there (`AddrInUse`), when what is
    /// there is no socket, or the folder is missing or closed to us.
    pub fn bind(socket: &Socket, path: &Path, mode: u32) -> io::Result<SocketFile> {
        remove_stale(socket.r#type()?, path)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile { path: path.to_owned(), made: mark(&fs::symlink_metadata(path)?) };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| mark(&found) == self.made) {
            // What is left is stale, and the next start replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn remove_stale(kind: Type, path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let message = "another file is there, which is no socket; remove it or take another path";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    // A full queue is somebody's too, and not to be waited for.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        _ => {
            let message = "another process listens on this socket; stop it or take another path";
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(kind: Type, path: &Path) -> io::Result<(Socket, SocketFile)> {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        let file = SocketFile::bind(&socket, path, 0o620)?;
        if kind == Type::STREAM {
            socket.listen(1)?;
        }
        Ok((socket, file))
    }

    #[test]
    fn a_stale_file_is_replaced_a_live_one_refused_and_only_ours_removed() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [Type::DGRAM, Type::STREAM] {
            let path = dir.path().join("s");
            let (socket, file) = bind(kind, &path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
            for other in [Type::DGRAM, Type::STREAM] {
                assert_eq!(bind(other, &path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            }
            // As a crash would: the socket goes, the file stays.
            drop(socket);
            // File times go by the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let (_socket, newer) = bind(kind, &path).unwrap();
            drop(file);
            assert!(path.exists(), "another's file was removed");
            drop(newer);
            assert!(!path.exists());
        }
        let path = dir.path().join("text");
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(Type::DGRAM, &path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(bind(Type::DGRAM, &dir.path().join("missing/s")).is_err());
    }
}

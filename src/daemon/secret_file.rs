//! A random key kept beside the data, readable by its owner alone: it signs
//! short-lived tokens, so that they outlive a restart.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const KEY_BYTES: usize = 32;

/// Reads the key at `path`, or makes one.
pub fn read_or_create(path: &Path) -> io::Result<Vec<u8>> {
    match File::open(path) {
        Ok(file) => {
            let mut key = Vec::new();
            file.take(KEY_BYTES as u64 + 1).read_to_end(&mut key)?;
            // A shorter one, or one of zeros, was torn by a crash while it was made.
            if key.len() == KEY_BYTES && key.iter().any(|byte| *byte != 0) {
                return Ok(key);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let key: ring::rand::Random<[u8; KEY_BYTES]> = ring::rand::generate(&ring::rand::SystemRandom::new())
        .map_err(|_| io::Error::other("no randomness"))?;
    let key = key.expose();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    File::open(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?
        .sync_all()?;
    Ok(key.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_key_stays_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bearer.key");
        let key = read_or_create(&path).unwrap();
        assert_eq!(read_or_create(&path).unwrap(), key);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        // A shorter one was torn by a crash; one of zeros was never on the disk.
        for torn in [b"torn".to_vec(), vec![0; KEY_BYTES]] {
            std::fs::write(&path, &torn).unwrap();
            let made = read_or_create(&path).unwrap();
            assert!(made.len() == KEY_BYTES && made != key && made != torn);
        }
    }
}

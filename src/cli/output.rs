//! Where an export goes: stdout, or a file that has its name only once it is
//! whole and durable. Until then it is `NAME.part` beside it, and what had the
//! name is as it was. What is no plain file (a device, a pipe) is written to as it
//! is. A name that ends in `.gz` is packed by gzip.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

type Sink = Box<dyn Write + Send>;

/// See the module's head. What is not finished leaves nothing.
pub struct Output {
    sink: Option<Packed>,
    part: Option<Part>,
}

enum Packed {
    No(BufWriter<Sink>),
    Gzip(Box<GzEncoder<BufWriter<Sink>>>),
}

/// A file that does not have its name yet.
struct Part {
    file: File,
    path: PathBuf,
    name: PathBuf,
}

impl Output {
    /// Opens it; without a name, or for `-`, stdout.
    ///
    /// # Errors
    /// When it cannot be made, or another export is writing it.
    pub fn new(name: Option<&Path>) -> anyhow::Result<Output> {
        let Some(name) = name.filter(|name| *name != Path::new("-")) else {
            return Ok(Output { sink: Some(Packed::No(BufWriter::new(Box::new(io::stdout())))), part: None });
        };
        let failed = |error: io::Error| anyhow::anyhow!("cannot create {}: {error}", name.display());
        let (sink, part): (Sink, _) = match fs::metadata(name) {
            Ok(known) if !known.is_file() => {
                (Box::new(File::options().write(true).open(name).map_err(failed)?), None)
            }
            _ => {
                let part = Part::new(name)
                    .map_err(failed)?
                    .ok_or_else(|| anyhow::anyhow!("another export is writing {}", name.display()))?;
                (Box::new(part.file.try_clone().map_err(failed)?), Some(part))
            }
        };
        let sink = BufWriter::new(sink);
        let sink = match name.extension().is_some_and(|extension| extension == "gz") {
            true => Packed::Gzip(Box::new(GzEncoder::new(sink, Compression::default()))),
            false => Packed::No(sink),
        };
        Ok(Output { sink: Some(sink), part })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// When the rest cannot be written, or made durable.
    pub fn finish(mut self) -> io::Result<()> {
        let sink = match self.sink.take() {
            Some(Packed::No(sink)) => sink,
            Some(Packed::Gzip(packed)) => packed.finish()?,
            None => return Ok(()),
        };
        sink.into_inner().map_err(io::IntoInnerError::into_error)?.flush()?;
        if let Some(part) = &self.part {
            part.file.sync_all()?;
            fs::rename(&part.path, &part.name)?;
            let dir = part.name.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(dir.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        self.part = None;
        Ok(())
    }
}

impl Part {
    /// `None` when another has it.
    fn new(name: &Path) -> io::Result<Option<Part>> {
        // Where a link points, so that it stays one.
        let name = fs::canonicalize(name).unwrap_or_else(|_| name.into());
        let mut path = name.clone().into_os_string();
        path.push(".part");
        let path = PathBuf::from(path);
        let file = File::options().create(true).truncate(false).write(true).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.set_len(0)?;
        if let Ok(known) = fs::metadata(&name) {
            file.set_permissions(known.permissions())?;
        }
        Ok(Some(Part { file, path, name }))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(&part.path);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Some(Packed::No(sink)) => sink.write(bytes),
            Some(Packed::Gzip(packed)) => packed.write(bytes),
            None => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Some(Packed::No(sink)) => sink.flush(),
            Some(Packed::Gzip(packed)) => packed.flush(),
            None => Ok(()),
        }
    }
}

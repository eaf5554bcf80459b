//! The log of `cargo dev`: a file in the data folder and, with `--log`, also standard output.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use shared::config::{Variables, variable};
use shared::telemetry;

use crate::StartError;
use crate::data::{DataFolder, LOG, OLD_LOG, open_private};
use crate::options::Options;

/// The size at which the log becomes the old log, in bytes. That is about 80,000 decisions.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Starts to log to a file in the folder `data`.
pub(crate) fn start(data: &DataFolder, options: &Options) -> Result<(), StartError> {
    let log = Log { file: Arc::new(Mutex::new(LogFile::open(data)?)), on_terminal: options.log };
    let variables = Variables::from_process();
    telemetry::init_with(variables.get(variable::LOG_LEVEL), move || log.clone());
    Ok(())
}

/// Writes whole lines, without a buffer, so that no line is lost when the process ends.
#[derive(Clone)]
struct Log {
    file: Arc<Mutex<LogFile>>,
    on_terminal: bool,
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.append(line);
        if self.on_terminal {
            io::stdout().write_all(line)?;
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LogFile {
    path: PathBuf,
    old_path: PathBuf,
    file: File,
    /// The size of the file.
    bytes: u64,
}

impl LogFile {
    fn open(data: &DataFolder) -> Result<Self, StartError> {
        let (path, old_path) = (data.path.join(LOG), data.path.join(OLD_LOG));
        let open = || {
            let file = open_private(&path)?;
            let bytes = file.metadata()?.len();
            Ok((file, bytes))
        };
        match open() {
            Ok((file, bytes)) => Ok(Self { path, old_path, file, bytes }),
            Err(cause) => Err(StartError::Log { path, cause }),
        }
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes >= MAX_BYTES {
            fs::rename(&self.path, &self.old_path)?;
            (self.file, self.bytes) = (open_private(&self.path)?, 0);
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

//! Go's own leak detector, asked for by one byte.
//!
//! Go 1.27 looks for goroutines that wait for what nobody can reach any more during a collection, if
//! `work.goroutineLeak.pending` is set when it starts (`gcStart`, runtime/mgc.go); it clears the byte itself and
//! marks what it finds as `_Gleaked`. Setting the byte is what `runtime/pprof` does for its `goroutineleak`
//! profile, less the collection: the program's next one looks, which comes within two minutes
//! (`forcegcperiod`).
//!
//! This is a write to a watched program: only if the collector was given leave, only where the byte's place is
//! proven by the code that reads it, and only over a 0. If the watch ends before a collection came, the byte is
//! put back. After `kill -9` of the collector it stays until the next collection, which clears it.

use super::process::Process;
use heaptide_policy::RejectReason;
use std::io;

#[derive(Debug)]
pub struct LeakCheck {
    /// Where the byte is, or why that is not known.
    address: Result<u64, String>,
    granted: bool,
    written: bool,
}

impl LeakCheck {
    pub fn new(address: Result<u64, String>, granted: bool) -> Self {
        Self {
            address,
            granted,
            written: false,
        }
    }

    /// Why the detector can't be asked here, if it can't.
    pub fn refusal(&self) -> Option<RejectReason> {
        if let Err(why) = &self.address {
            return Some(unavailable(why.clone()));
        }
        (!self.granted).then(|| {
            let why =
                "this collector was started without --allow-leak-check, so it won't write to the program";
            unavailable(why.to_owned())
        })
    }

    /// Has the next collection look for leaked goroutines. One that is asked for already is not asked again.
    ///
    /// # Errors
    ///
    /// Those of [`Self::refusal`]; the byte holds something else than 0 or 1; it can't be written.
    pub fn ask(&mut self, process: &Process) -> Result<(), RejectReason> {
        if let Some(reason) = self.refusal() {
            return Err(reason);
        }
        let Ok(address) = self.address else {
            return Ok(());
        };
        let failed = |error: io::Error| unavailable(format!("the detector's switch: {error}"));
        match read_byte(process, address).map_err(failed)? {
            0 => {
                write_byte(process, address, 1).map_err(failed)?;
                self.written = true;
                Ok(())
            }
            1 => Ok(()),
            other => Err(unavailable(format!(
                "the detector's switch is {other}, and only 0 and 1 are known: nothing was written"
            ))),
        }
    }

    /// Takes back what no collection has answered yet.
    pub fn undo(&mut self, process: &Process) -> io::Result<()> {
        let Ok(address) = self.address else {
            return Ok(());
        };
        // A process that has ended needs nothing.
        if std::mem::take(&mut self.written)
            && process.stat().is_ok()
            && read_byte(process, address).is_ok_and(|byte| byte == 1)
        {
            write_byte(process, address, 0)?;
        }
        Ok(())
    }
}

fn unavailable(why: String) -> RejectReason {
    RejectReason::Unavailable {
        what: "a leak check".to_owned(),
        why,
    }
}

fn read_byte(process: &Process, address: u64) -> io::Result<u8> {
    let mut byte = [0];
    process.read_memory(address, &mut byte)?;
    Ok(byte[0])
}

fn write_byte(process: &Process, address: u64, value: u8) -> io::Result<()> {
    process.write_memory(address, &[value])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    /// This process plays the program: its memory is read and written like any other's.
    #[test]
    fn one_byte_is_written_only_where_it_may_and_over_nothing_else() {
        let process = Process::open(std::process::id()).unwrap();
        let unknown = || Err("no such code".to_owned());
        for (before, granted, known, after, expected) in [
            (0, true, true, 1, Ok(())),
            (1, true, true, 1, Ok(())),
            (7, true, true, 7, Err("is 7, and only 0 and 1")),
            (0, false, true, 0, Err("--allow-leak-check")),
            (0, true, false, 0, Err("no such code")),
        ] {
            let bytes = [0xee, before, 0xee].map(AtomicU8::new);
            let address = if known {
                Ok(bytes[1].as_ptr() as u64)
            } else {
                unknown()
            };
            let mut check = LeakCheck::new(address, granted);
            let got = check.ask(&process).map_err(|reason| reason.to_string());
            match expected {
                Ok(()) => assert_eq!(got, Ok(()), "{before}"),
                Err(why) => assert!(got.as_ref().is_err_and(|got| got.contains(why)), "{got:?}"),
            }
            let now = || bytes.each_ref().map(|byte| byte.load(Ordering::SeqCst));
            assert_eq!(now(), [0xee, after, 0xee]);
            // Only what was written here and stands unanswered is taken back.
            check.undo(&process).unwrap();
            let undone = if before == 0 { 0 } else { after };
            assert_eq!(now(), [0xee, undone, 0xee]);
        }
    }
}

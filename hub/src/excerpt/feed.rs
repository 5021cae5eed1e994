//! Reads a session from its beginning, a bounded piece at a time, as far as it is durable. Blocks.

use super::rewrite::Rewriter;
use crate::hub::Hub;
use crate::levels::{Past, Piece};
use crate::session::{Cursor, Next, Session};
use crate::store::replay::{self, Item};
use crate::transfer::records::{Found, Records};
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{Missed, MissedReason, Overview, Stretch};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Read from disk at once.
const PIECE_BYTES: usize = 256 << 10;

/// The frames of a session as one reader may see them.
#[derive(Debug)]
pub(crate) struct Feed {
    source: Source,
    rewriter: Rewriter,
    /// The last frame of the source that is read; for ever, if it is a live one.
    until_seq: u64,
}

#[derive(Debug)]
enum Source {
    Stored {
        session: Arc<Session>,
        folder: PathBuf,
        cursor: Cursor,
        /// Of an overview, what is still to be told before the rest, which comes as it is.
        past: Option<Past>,
    },
    /// A file in the form of a recording, with a part that was cut before.
    File {
        file: File,
        records: Records,
        last_seq: u64,
        is_over: bool,
    },
}

#[derive(Debug, PartialEq)]
pub(crate) enum Pulled {
    /// Possibly empty: there may be more.
    Items(Vec<Item>),
    /// Frames that stand for a stretch of others.
    Steps(Stretch, Vec<Item>),
    /// For now.
    CaughtUp,
    /// For good: the part has an end, and this is it.
    Over,
}

impl Feed {
    /// From the first frame, and on with what comes.
    pub(crate) fn live(hub: &Hub, session: &Arc<Session>, rewriter: Rewriter) -> Self {
        Self {
            source: Source::Stored {
                session: Arc::clone(session),
                folder: hub.store.folder(session.id),
                cursor: session.cursor_after(0),
                past: None,
            },
            rewriter,
            until_seq: u64::MAX,
        }
    }

    /// The same, with the past in steps where it is long and nobody looks closely. Reads the list of parts.
    pub(crate) fn overview(hub: &Hub, session: &Arc<Session>, rewriter: Rewriter, ask: &Overview) -> Self {
        let edges_ns = rewriter.edges_ns();
        let mut feed = Self::live(hub, session, rewriter);
        if let Source::Stored { past, .. } = &mut feed.source {
            // Without a plan each frame comes.
            *past = Past::plan(hub, session, ask, edges_ns).ok();
        }
        feed
    }

    /// From the first frame to what is the newest one now.
    pub(crate) fn until_now(hub: &Hub, session: &Arc<Session>, rewriter: Rewriter) -> Self {
        Self {
            until_seq: session.durable_seq(),
            ..Self::live(hub, session, rewriter)
        }
    }

    /// What a file holds.
    pub(crate) fn file(path: &Path, session: SessionId) -> std::io::Result<Self> {
        Ok(Self {
            source: Source::File {
                file: File::open(path)?,
                records: Records::default(),
                last_seq: 0,
                is_over: false,
            },
            rewriter: Rewriter::whole(session),
            until_seq: u64::MAX,
        })
    }

    /// Whether frames that were read have expired and are summed up with some that were not.
    pub(crate) fn is_replaced(&self) -> bool {
        match &self.source {
            Source::Stored { session, cursor, .. } => {
                session.with_log(|log| log.is_replaced(cursor.next_seq))
            }
            Source::File { .. } => false,
        }
    }

    /// What comes next. `Err` is a sentence on why nothing will.
    pub(crate) fn pull(&mut self, hub: &Hub) -> Result<Pulled, String> {
        if self.rewriter.is_over() {
            return Ok(Pulled::Over);
        }
        let mut items = Vec::new();
        match &mut self.source {
            Source::Stored {
                session,
                folder,
                cursor,
                past,
            } => {
                if cursor.next_seq > self.until_seq {
                    return Ok(Pulled::Over);
                }
                match past.as_mut().and_then(|past| past.pull(hub, session, cursor)) {
                    Some(Piece::Steps { stretch, frames }) => {
                        // By the numbers that the reader knows.
                        let from_seq = self.rewriter.next_seq();
                        for frame in &frames {
                            self.rewriter.frame(frame, &mut items)?;
                        }
                        let to_seq = self.rewriter.next_seq() - 1;
                        let stretch = Stretch {
                            from_seq,
                            to_seq,
                            ..stretch
                        };
                        return Ok(Pulled::Steps(stretch, items));
                    }
                    Some(Piece::Items(read)) => {
                        self.rewriter.items(read, &mut items)?;
                        return Ok(Pulled::Items(items));
                    }
                    None => *past = None,
                }
                match session.next(*cursor) {
                    Next::CaughtUp { .. } => return Ok(Pulled::CaughtUp),
                    Next::Frames {
                        frames,
                        cursor: behind,
                    } => {
                        *cursor = behind;
                        for frame in &frames {
                            self.rewriter.frame(frame, &mut items)?;
                        }
                    }
                    Next::Read(stretch) => {
                        let chunk = replay::read(folder, session, &stretch, *cursor, PIECE_BYTES)
                            .map_err(|error| format!("can't read the stored frames: {error}"))?;
                        *cursor = chunk.cursor;
                        self.rewriter.items(chunk.items, &mut items)?;
                    }
                }
            }
            Source::File {
                file,
                records,
                last_seq,
                is_over,
            } => {
                if *is_over {
                    return Ok(Pulled::Over);
                }
                let mut piece = vec![0; PIECE_BYTES];
                let length = file
                    .read(&mut piece)
                    .map_err(|error| format!("can't read the frames: {error}"))?;
                records.push(&piece[..length]);
                *is_over = length == 0;
                while let Some(found) = records.next(*is_over).map_err(|error| error.to_string())? {
                    let Found::Frame { envelope, frame } = found else {
                        continue;
                    };
                    if envelope.seq > *last_seq + 1 {
                        items.push(Item::Missed(Missed {
                            from_seq: *last_seq + 1,
                            to_seq: envelope.seq - 1,
                            reason: MissedReason::Damaged,
                        }));
                    }
                    *last_seq = envelope.seq;
                    items.push(Item::Frame(frame));
                }
            }
        }
        Ok(Pulled::Items(items))
    }
}

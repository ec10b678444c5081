//! The whole terminal, until `q`: what was on it comes back afterwards.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::time::sleep;

/// The other screen, without a cursor (xterm's control sequences, DECSET 1049 and 25).
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";
/// To the first line; what is after a line; what is below the last one.
const HOME: &str = "\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST: &str = "\x1b[J";
/// How often keys are looked for.
const GLANCE: Duration = Duration::from_millis(100);

/// A screen that is ours; dropping it gives it back.
pub(super) struct Screen {
    /// Unless input comes from elsewhere.
    keys: Option<Keys>,
}

/// Keys as they are pressed.
struct Keys {
    before: Termios,
}

impl Screen {
    /// # Errors
    /// The terminal cannot be written.
    pub(super) fn open() -> io::Result<Self> {
        let keys = if io::stdin().is_terminal() { Some(Keys::open()?) } else { None };
        let screen = Self { keys };
        let mut out = io::stdout().lock();
        out.write_all(OPEN.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// Returns when the user has pressed `q`.
    pub(super) async fn quit(&self) {
        match &self.keys {
            Some(_) => Keys::quit().await,
            None => std::future::pending().await,
        }
    }

    /// Shows a text, as much of it as there is room for.
    ///
    /// # Errors
    /// The terminal cannot be written.
    pub(super) fn draw(&self, text: &str) -> io::Result<()> {
        let rows = tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        // A terminal that does not know its size reports 0.
        let rows = if rows == 0 { usize::MAX } else { rows };
        let last = if self.keys.is_some() { "q quits" } else { "Ctrl-C quits" };
        let mut out = HOME.to_owned();
        for line in text.lines().take(rows.saturating_sub(2)) {
            out.extend([line, REST_OF_LINE, "\r\n"]);
        }
        out.extend([REST_OF_LINE, "\r\n", last, REST]);
        let mut stdout = io::stdout().lock();
        stdout.write_all(out.as_bytes())?;
        stdout.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        // There is nowhere to report that the terminal is gone.
        let _ = out.write_all(CLOSE.as_bytes()).and_then(|()| out.flush());
    }
}

impl Keys {
    fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        // A read does not wait.
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }

    async fn quit() {
        loop {
            sleep(GLANCE).await;
            let mut keys = [0; 16];
            match rustix::io::read(io::stdin(), &mut keys) {
                Ok(count) if keys[..count].contains(&b'q') => return,
                Ok(_) => {}
                // A terminal that cannot be read any more has no user.
                Err(_) => return,
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // There is nowhere to report that the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

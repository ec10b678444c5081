//! `top`: what passes captures and ports, now.
//!
//! Each second, the daemon is asked for the cubes, and for the ports of those that have some; rates are what has changed
//! since the last time. On a terminal, that is a screen until `q`; elsewhere, it is one table.

mod sample;
mod screen;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use hyper::Method;
use polycube_api::Word;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, sleep};

use self::sample::Sample;
use self::screen::Screen;
use crate::client::{Answer, Client};
use crate::failure::Failure;
use crate::grammar::{Clock, Request, segment};
use crate::output::print;
use crate::refusal::{Asked, Refusal};
use crate::session::Session;
use crate::show::Paper;
use crate::stream::Stop;

/// Between two looks.
const STEP: Duration = Duration::from_secs(1);

/// Shows it, until the user has seen enough; with `once`, one table.
///
/// # Errors
/// The daemon does not answer, or refuses.
pub(crate) fn run(session: &Session, once: bool) -> Result<(), Failure> {
    let is_live = !once && io::stdout().is_terminal();
    session.run(async |client| {
        let mut stop = Stop::new().map_err(Failure::Runtime)?;
        let mut before = look(client).await?;
        if !is_live {
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = sleep(STEP) => {}
            }
            return print(&look(client).await?.tables(&before, &Paper::of_stdout(Clock::default())));
        }
        let screen = Screen::open().map_err(Failure::Output)?;
        let mut tick = interval(STEP);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.wait() => return Ok(()),
                () = screen.quit() => return Ok(()),
                _ = tick.tick() => {
                    let now = look(client).await?;
                    screen.draw(&now.tables(&before, &Paper::of_stdout(Clock::default()))).map_err(Failure::Output)?;
                    before = now;
                }
            }
        }
    })
}

/// Asks for everything that is shown.
async fn look(client: &Client) -> Result<Sample, Failure> {
    let cubes = get(client, format!("{}/", Word::Cubes.as_str())).await?.ok_or(Failure::NotJson)?;
    let mut sample = Sample::new(Instant::now(), &cubes);
    for cube in sample.with_ports() {
        // A cube may have been deleted meanwhile.
        if let Some(ports) = get(client, format!("{}/ports/", segment(&cube))).await? {
            sample.add_ports(&cube, &ports);
        }
    }
    Ok(sample)
}

/// What is there; `None` if it is gone.
async fn get(client: &Client, path: String) -> Result<Option<Value>, Failure> {
    let answer: Answer = client.send(&Request { method: Method::GET, path, body: None }).await?;
    match answer.status {
        status if status.is_success() => serde_json::from_slice(&answer.body).map(Some).map_err(|_| Failure::NotJson),
        hyper::StatusCode::NOT_FOUND => Ok(None),
        _ => Err(Refusal::new(&answer, Asked::Verb).into()),
    }
}

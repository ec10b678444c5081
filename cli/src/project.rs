//! Projects of plugins: written from templates, built, and what they build looked at. Knows no daemon that runs.

mod build;
mod check;
mod install;
mod new;
mod sdk;
mod templates;

pub(crate) use self::build::{BuildError, Built, build, newest};
pub(crate) use self::check::{CheckError, check};
pub(crate) use self::install::{Installed, PlaceError};
pub(crate) use self::new::{NewError, write};

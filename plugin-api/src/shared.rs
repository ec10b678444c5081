//! The service as a whole, which answers requests that need no cube. The host makes it as it makes a cube, with `is-shared`
//! in what a cube is made of, calls it once and drops it. A plugin without shared streams is never asked for it.

use std::marker::PhantomData;
use std::os::fd::IntoRawFd as _;

use abi_stable::std_types::{RStr, RString, RVec};
use serde_json::json;

use crate::abi::{Answer, CubeAbi, DatapathText, MapHandle, StreamHandle};
use crate::guard::guard;
use crate::{Cube, Opened, Refusal, Service};

/// The action that deletes the stream whose path is its input.
const DELETE: &str = "delete";

pub(crate) struct Shared<S> {
    host: Cube,
    service: PhantomData<fn() -> S>,
}

impl<S> Shared<S> {
    pub(crate) fn new(host: Cube) -> Self {
        Self { host, service: PhantomData }
    }
}

/// What only cubes have.
fn no_cube<T>() -> Answer<T> {
    guard(|| Err(Refusal::failed("the service as a whole is not a cube")))
}

impl<S: Service> CubeAbi for Shared<S> {
    fn open(&self, path: RStr<'_>, query: RStr<'_>) -> Answer<StreamHandle> {
        guard(|| S::open_shared(&self.host, path.as_str(), &serde_json::from_str(query.as_str())?).map(handle))
    }

    fn action(&self, path: RStr<'_>, input: RStr<'_>) -> Answer<RString> {
        guard(|| match path.as_str() {
            DELETE => {
                let path: String = serde_json::from_str(input.as_str())?;
                S::delete_shared(&self.host, &path).map(|()| "null".into())
            }
            other => Err(Refusal::no_stream(other)),
        })
    }

    fn datapath(&self, _: RStr<'_>) -> Answer<DatapathText> {
        no_cube()
    }

    fn prepare(&self, _: RStr<'_>, _: RVec<MapHandle>) -> Answer<()> {
        no_cube()
    }

    fn commit(&self) -> Answer<()> {
        no_cube()
    }

    fn abort(&self) -> Answer<()> {
        no_cube()
    }

    fn state(&self) -> Answer<RString> {
        no_cube()
    }

    fn tick(&self) -> Answer<()> {
        no_cube()
    }
}

/// A stream as it crosses the border.
pub(crate) fn handle(opened: Opened) -> StreamHandle {
    let Opened { fd, media, file_name, id } = opened;
    let info = json!({ "media": media, "file-name": file_name, "id": id });
    StreamHandle { info: info.to_string().into(), fd: fd.into_raw_fd() }
}

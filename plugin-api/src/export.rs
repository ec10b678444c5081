//! From the trait to the ABI.

use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::Arc;

use abi_stable::{
    sabi_trait::prelude::TD_Opaque,
    std_types::{RStr, RString, RVec},
};

use crate::{
    Cube, Map, Maps, Service, ServiceSchema, Wanted,
    abi::{Answer, CubeAbi, CubeAbi_TO, CubeHandle, DatapathText, HostHandle, MapHandle, StreamHandle},
    guard::guard,
    shared::{Shared, handle},
    stages::Stages,
};

/// Exports `$service`, which implements [`Service`], as this library's plugin.
#[macro_export]
macro_rules! export_plugin {
    ($service:ty) => {
        const _: () = {
            use $crate::__private::abi_stable::{library, prefix_type::PrefixTypeTrait, std_types};

            #[unsafe(no_mangle)]
            static PCN_PLUGIN_IDENTITY: $crate::identity::Identity =
                $crate::identity::Identity::new(<$service as $crate::Service>::NAME, ::core::env!("CARGO_PKG_VERSION"));

            extern "C" fn describe() -> $crate::abi::Answer<std_types::RString> {
                $crate::__private::describe::<$service>(::core::env!("CARGO_PKG_VERSION"))
            }

            extern "C" fn create(
                cube: std_types::RStr<'_>,
                host: $crate::abi::HostHandle,
            ) -> $crate::abi::Answer<$crate::abi::CubeHandle> {
                $crate::__private::instantiate::<$service>(cube, host)
            }

            fn root() -> $crate::abi::PluginRef {
                $crate::__private::install_hook();
                $crate::abi::Plugin { describe, create }.leak_into_prefix()
            }

            extern "C" fn erased_root() -> library::RootModuleResult {
                library::__call_root_module_loader(root)
            }

            // The name that abi_stable 0.11 looks for (its `ROOT_MODULE_LOADER_NAME`); `export_root_module` would make
            // abi_stable a direct dependency of the plugin.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static LIB_HEADER: library::LibHeader =
                // SAFETY: `erased_root` erases the `PluginRef` that `root` returns, which is the type named here.
                unsafe {
                    library::LibHeader::from_constructor::<$crate::abi::PluginRef>(
                        erased_root,
                        library::CheckTypeLayout::Yes,
                    )
                };
        };
    };
}

/// [`Plugin::describe`](crate::abi::Plugin::describe) of `S`.
pub fn describe<S: Service>(version: &str) -> Answer<RString> {
    guard(|| Ok(serde_json::to_string(&ServiceSchema::of::<S>(version))?.into()))
}

/// [`Plugin::create`](crate::abi::Plugin::create) of `S`.
pub fn instantiate<S: Service>(cube: RStr<'_>, host: HostHandle) -> Answer<CubeHandle> {
    guard(|| {
        let cube = Cube::new(serde_json::from_str(cube.as_str())?, host);
        if cube.is_shared() {
            return Ok(CubeAbi_TO::from_value(Shared::<S>::new(cube), TD_Opaque));
        }
        let stages = cube.stages();
        let instance = Instance { service: ManuallyDrop::new(S::create(cube)?), stages };
        Ok(CubeAbi_TO::from_value(instance, TD_Opaque))
    })
}

struct Instance<S> {
    service: ManuallyDrop<S>,
    /// What follows the phases of a change without the service's help.
    stages: Arc<Stages>,
}

impl<S> Drop for Instance<S> {
    fn drop(&mut self) {
        let _ = guard(|| {
            // SAFETY: the service is dropped only here, and `self` is not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.service) };
            Ok(())
        });
    }
}

impl<S: Service> CubeAbi for Instance<S> {
    fn datapath(&self, wanted: RStr<'_>) -> Answer<DatapathText> {
        guard(|| {
            let wanted: Wanted<S::Config> = serde_json::from_str(wanted.as_str())?;
            let datapath = self.service.datapath(&wanted)?;
            let spec = serde_json::to_string(&datapath)?.into();
            let objects = datapath.objects.into_iter().map(|object| RVec::from(object.into_owned())).collect();
            Ok(DatapathText { spec, objects })
        })
    }

    fn prepare(&self, wanted: RStr<'_>, maps: RVec<MapHandle>) -> Answer<()> {
        let answer = guard(|| {
            let maps = maps.iter().map(Map::adopt).collect::<Vec<_>>();
            let maps = Maps(maps.into_iter().collect::<Result<_, _>>()?);
            self.service.prepare(&serde_json::from_str(wanted.as_str())?, maps)
        });
        if answer.is_err() {
            // Neither a commit nor an abort follows.
            let _ = guard(|| {
                self.stages.abort();
                Ok(())
            });
        }
        answer
    }

    fn commit(&self) -> Answer<()> {
        guard(|| {
            self.stages.commit();
            self.service.commit();
            Ok(())
        })
    }

    fn abort(&self) -> Answer<()> {
        guard(|| {
            self.stages.abort();
            self.service.abort();
            Ok(())
        })
    }

    fn state(&self) -> Answer<RString> {
        guard(|| Ok(serde_json::to_string(&self.service.state()?)?.into()))
    }

    fn action(&self, path: RStr<'_>, input: RStr<'_>) -> Answer<RString> {
        guard(|| {
            let output = self.service.action(path.as_str(), &serde_json::from_str(input.as_str())?)?;
            Ok(output.to_string().into())
        })
    }

    fn act(&self, call: RStr<'_>) -> Answer<RString> {
        guard(|| Ok(serde_json::to_string(&self.service.act(&serde_json::from_str(call.as_str())?)?)?.into()))
    }

    fn tick(&self) -> Answer<()> {
        guard(|| {
            self.service.tick();
            Ok(())
        })
    }

    fn netdevs(&self, netdevs: RStr<'_>) -> Answer<()> {
        guard(|| {
            self.service.netdevs(&serde_json::from_str(netdevs.as_str())?);
            Ok(())
        })
    }

    fn environment(&self, news: RStr<'_>) -> Answer<()> {
        guard(|| {
            self.service.environment(&serde_json::from_str(news.as_str())?);
            Ok(())
        })
    }

    fn open(&self, path: RStr<'_>, query: RStr<'_>) -> Answer<StreamHandle> {
        guard(|| {
            let opened = self.service.open(path.as_str(), &serde_json::from_str(query.as_str())?)?;
            Ok(handle(opened))
        })
    }

    fn open_into(&self, path: RStr<'_>, query: RStr<'_>, file: i32) -> Answer<StreamHandle> {
        // SAFETY: the host hands over an open descriptor, once.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        guard(|| {
            let query = serde_json::from_str(query.as_str())?;
            Ok(handle(self.service.open_into(path.as_str(), &query, file)?))
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn abi_stable_looks_for_the_name_that_the_macro_exports() {
        assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}

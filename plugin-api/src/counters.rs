//! From counters in a map to state and metrics.

use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::keyword;

/// Declares counters once: the value that programs count in, its sum over all CPUs, the state that shows them, and their
/// metrics.
///
/// ```
/// polycube_plugin_api::counters! {
///     /// What the gate has counted
///     pub struct Counters {
///         /// Packets that passed
///         passed: "gate_passed_packets_total",
///         /// Bytes of these packets
///         bytes: "gate_passed_bytes_total",
///         /// Packets that were looked at twice
///         again: _,
///     }
/// }
///
/// # use polycube_plugin_api::maps::{Plain, Total};
/// let mut sum = Counters { passed: 1, bytes: 60, again: 0 };
/// sum.add(&Counters { passed: 2, bytes: 80, again: 1 });
/// assert_eq!(serde_json::to_string(&sum).unwrap(), r#"{"passed":3,"bytes":140}"#);
/// assert_eq!(Counters::SIZE, 24);
/// ```
///
/// Each field is a `u64`, in the order of the kernel's structure, with its metric, or `_` for one that is counted but not
/// shown. The doc comments are what users read. In the state, names are in kebab case; a metric that ends in `_bytes_total`
/// or `_seconds_total` gives the unit. The structure is [`Plain`](crate::maps::Plain) and
/// [`Total`](crate::maps::Total), so that `PerCpuArray<Counters>` has a `sum`, and it can be a
/// [`Service::State`](crate::Service::State) or a field of one.
///
/// If the kernel's side is in Rust and shares a structure with the plugin, name it, and list the fields to read:
///
/// ```
/// mod layout {
///     #[repr(C)]
///     pub struct PortCounters {
///         pub seen: u64,
///         pub zero: u64,
///         pub lost: u64,
///     }
/// }
///
/// polycube_plugin_api::counters! {
///     /// What a port has counted
///     pub struct Counters from layout::PortCounters {
///         /// Packets that were lost
///         lost: "gate_lost_packets_total",
///     }
/// }
///
/// # use polycube_plugin_api::maps::Plain;
/// assert_eq!(Counters::SIZE, 24);
/// ```
#[macro_export]
macro_rules! counters {
    ($(#[doc = $about:literal])* $visibility:vis struct $name:ident { $($fields:tt)* }) => {
        $crate::counters!(@ [$($about)*] $visibility $name, $name, { $($fields)* });
    };
    ($(#[doc = $about:literal])* $visibility:vis struct $name:ident from $layout:path { $($fields:tt)* }) => {
        $crate::counters!(@ [$($about)*] $visibility $name, $layout, { $($fields)* });
    };
    (@ [$($about:literal)*] $visibility:vis $name:ident, $layout:path, {
        $($(#[doc = $help:literal])* $field:ident: $metric:tt),* $(,)?
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        $visibility struct $name {
            $($(#[doc = $help])* pub $field: u64,)*
        }

        const _: () = {
            use $crate::__private::{counters, schemars, serde};
            use $crate::maps::{Plain, Total};

            // Every counter of the kernel's structure is a u64.
            $(const _: fn(&$layout) -> &u64 = |counters| &counters.$field;)*

            const COUNTERS: &[counters::Counter] = &[$(counters::Counter {
                field: ::core::stringify!($field),
                help: &[$($help),*],
                metric: $crate::counters!(@metric $metric),
            }),*];

            impl Plain for $name {
                const SIZE: usize = ::core::mem::size_of::<$layout>();

                fn read(bytes: &[u8]) -> Self {
                    Self { $($field: counters::get(bytes, ::core::mem::offset_of!($layout, $field)),)* }
                }

                fn write(&self, bytes: &mut [u8]) {
                    bytes.fill(0);
                    $(counters::set(bytes, ::core::mem::offset_of!($layout, $field), self.$field);)*
                }
            }

            impl Total for $name {
                fn add(&mut self, other: &Self) {
                    $(self.$field = self.$field.wrapping_add(other.$field);)*
                }
            }

            impl serde::Serialize for $name {
                fn serialize<S: serde::Serializer>(&self, serializer: S) -> ::core::result::Result<S::Ok, S::Error> {
                    counters::serialize(COUNTERS, &[$(self.$field),*], serializer)
                }
            }

            impl schemars::JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> ::std::borrow::Cow<'static, str> {
                    ::std::borrow::Cow::Borrowed(::core::stringify!($name))
                }

                fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                    counters::schema(&[$($about),*], COUNTERS)
                }
            }
        };
    };
    (@metric _) => { ::core::option::Option::None };
    (@metric $metric:literal) => { ::core::option::Option::Some($metric) };
}

/// A counter, as [`counters!`](crate::counters!) declares it.
pub struct Counter {
    /// Name of the field.
    pub field: &'static str,
    /// Lines of its doc comment.
    pub help: &'static [&'static str],
    /// Name of its metric; `None` if it is not shown.
    pub metric: Option<&'static str>,
}

impl Counter {
    fn name(&self) -> String {
        self.field.replace('_', "-")
    }

    fn schema(&self, metric: &str) -> Value {
        let mut schema = json!({
            "type": "integer",
            "format": "uint64",
            "minimum": 0,
            "description": text(self.help),
        });
        let units = [("_bytes_total", "bytes"), ("_seconds_total", "seconds")];
        if let Some((_, unit)) = units.iter().find(|(end, _)| metric.ends_with(end)) {
            schema[keyword::UNIT] = json!(unit);
        }
        schema[keyword::METRIC] = json!({ "name": metric, "type": "counter" });
        schema
    }
}

/// The lines of a doc comment as one.
fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ").trim().to_owned()
}

/// The counter at `offset` of the kernel's value.
pub fn get(bytes: &[u8], offset: usize) -> u64 {
    bytes[offset..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Sets the counter at `offset` of the kernel's value.
pub fn set(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
}

/// The counters that are shown, with their values.
pub fn serialize<S: serde::Serializer>(counters: &[Counter], values: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    let shown = counters.iter().zip(values).filter(|(counter, _)| counter.metric.is_some());
    serializer.collect_map(shown.map(|(counter, value)| (counter.name(), value)))
}

/// The schema of the counters that are shown.
pub fn schema(about: &[&str], counters: &[Counter]) -> Schema {
    let shown = || counters.iter().filter_map(|counter| Some((counter.name(), counter.schema(counter.metric?))));
    let names: Vec<_> = shown().map(|(name, _)| name).collect();
    let properties: Map<String, Value> = shown().collect();
    schemars::json_schema!({
        "description": text(about),
        "type": "object",
        "properties": properties,
        "required": names,
    })
}

#[cfg(test)]
mod tests {
    use schemars::{JsonSchema, SchemaGenerator};
    use serde::Serialize;

    use super::*;
    use crate::maps::Plain;

    counters! {
        /// What a gate
        /// has counted.
        struct Counters {
            /// Packets that passed
            passed_on: "gate_passed_packets_total",
            /// Looked at twice
            again: _,
            /// Bytes of these packets
            bytes: "gate_passed_bytes_total",
        }
    }

    /// The same, by derives.
    #[derive(Serialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    #[allow(dead_code, reason = "only its schema counts")]
    struct Derived {
        /// Packets that passed
        #[schemars(extend("x-metric" = { "name": "gate_passed_packets_total", "type": "counter" }))]
        passed_on: u64,
        /// Bytes of these packets
        #[schemars(extend("x-unit" = "bytes", "x-metric" = { "name": "gate_passed_bytes_total", "type": "counter" }))]
        bytes: u64,
    }

    #[derive(Serialize, JsonSchema)]
    struct Port {
        /// Its name
        port: String,
        #[serde(flatten)]
        counters: Counters,
    }

    #[test]
    fn the_schema_is_the_one_of_derives() {
        let mut generator = SchemaGenerator::default();
        let found = Counters::json_schema(&mut generator).to_value();
        let derived = Derived::json_schema(&mut generator).to_value();
        let text = |value: &Value| serde_json::to_string_pretty(value).unwrap();
        assert_eq!(text(&found["properties"]), text(&derived["properties"]));
        assert_eq!((&found["required"], &found["type"]), (&derived["required"], &derived["type"]));
        assert_eq!(found["description"], "What a gate has counted.");
    }

    #[test]
    fn counters_are_members_of_a_state_beside_others() {
        let counters = Counters { passed_on: 1, again: 2, bytes: 60 };
        let port = Port { port: String::from("left"), counters };
        assert_eq!(serde_json::to_string(&port).unwrap(), r#"{"port":"left","passed-on":1,"bytes":60}"#);
        let schema = Port::json_schema(&mut SchemaGenerator::default()).to_value();
        let names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["port", "passed-on", "bytes"]);
        assert_eq!(schema["required"], json!(["port", "passed-on", "bytes"]));
    }

    mod layout {
        #[repr(C)]
        pub(crate) struct Shared {
            pub(crate) first: u32,
            pub(crate) zero: u32,
            pub(crate) lost: u64,
            pub(crate) other: u64,
        }
    }

    counters! {
        /// Some of what others count
        struct Some from layout::Shared {
            /// Packets that were lost
            lost: "gate_lost_packets_total",
        }
    }

    #[test]
    fn counters_are_read_from_where_the_kernels_structure_has_them() {
        let layout::Shared { .. } = layout::Shared { first: 0, zero: 0, lost: 0, other: 0 };
        let bytes = [1_u64, 7, 9].map(u64::to_ne_bytes).concat();
        assert_eq!((Some::SIZE, Some::read(&bytes)), (24, Some { lost: 7 }));
        let mut written = [0xff; 24];
        Some { lost: 5 }.write(&mut written);
        assert_eq!(written.to_vec(), [0_u64, 5, 0].map(u64::to_ne_bytes).concat());
    }
}

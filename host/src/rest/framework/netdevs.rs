//! Network devices of the daemon's network namespace.

use serde_json::{Value, json};

use super::{find, list};
use crate::problem::Problem;
use crate::rest::call::Content;
use crate::rest::context::Context;
use crate::rest::present::add_state;

pub(crate) async fn all(context: Context) -> Result<Content, Problem> {
    Ok(list(netdevs(&context).await?))
}

pub(crate) async fn one(context: Context, name: String) -> Result<Content, Problem> {
    find("netdev", &name, netdevs(&context).await?)
}

/// All netdevs, by their names.
pub(crate) async fn netdevs(context: &Context) -> Result<Vec<(String, Value)>, Problem> {
    let unknown = |error| Problem::failed("netdevs", format!("cannot list the netdevs: {error}"));
    let links = context.netlink.links().await.map_err(unknown)?;
    let addresses = context.netlink.addresses().await.map_err(unknown)?;
    let view = &context.view;
    Ok(links
        .into_iter()
        .map(|link| {
            let owner = view.topology.peer_owner(&link.name).or_else(|| view.netdevs.link_port(&link.name).cloned());
            let mut json = json!({
                "name": link.name,
                "index": link.ifindex,
                "mac": link.mac,
                "mtu": link.mtu,
                "addresses": addresses.get(&link.ifindex).map_or(&[][..], Vec::as_slice),
            });
            add_state(&mut json, Some(link.state()));
            json["peer"] = owner.map(|(cube, port)| format!("{cube}:{port}")).unwrap_or_default().into();
            (link.name, json)
        })
        .collect())
}

//! Which netdevs selectors stand for, and what becomes of that as they come and go.

use super::*;
use crate::model::{Look, export};
use crate::netdev::{Inside, Peer};
use crate::topology::{Chosen, Namespace, Selector};

fn web() -> Namespace {
    Namespace::Named("web".to_owned())
}

/// The facts of the lab, where `veth2` leads to `eth0` in the namespace `web`, and `veth8` to one that cannot be listed.
fn facts_with(look: Look) -> Facts {
    let mut facts = facts();
    let leading =
        |ifindex, name, nsid, peer| Link { peer: Some(Peer { nsid, ifindex: peer }), ..ethernet(ifindex, name) };
    facts.present.set(leading(2, "veth2", 4, 20));
    facts.present.set(leading(8, "veth8", 5, 30));
    facts.looks.insert(web(), look);
    facts
}

fn found(nsid: Option<i32>) -> Look {
    let netdevs = [(20, "eth0"), (21, "macvlan0")].map(|(ifindex, name)| (ifindex, name.to_owned()));
    Look::Found(Inside { nsid, netdevs: netdevs.into(), is_own: false })
}

fn gone() -> Look {
    Look::Gone("it is gone".to_owned())
}

/// Where `a` is, with what chose it.
fn places(model: &Model) -> Vec<String> {
    let of = |(_, point): (u32, &Point)| {
        let cube = CubeName::parse("a").unwrap();
        let chosen = model.topology.chosen_at(&cube, point).map(|Chosen { by, inside }| {
            let inside = inside.as_deref().map(|inside| format!("/{inside}")).unwrap_or_default();
            format!(" by {by}{inside}")
        });
        format!("{point}{}", chosen.unwrap_or_default())
    };
    let mut places: Vec<String> = model.topology.points("a").into_iter().map(of).collect();
    places.sort();
    places
}

/// `a` attached to these, one after the other.
fn attached(to: &[&str], facts: &Facts) -> Model {
    to.iter().fold(lab(), |model, place| change(&model, attach("a", place), facts).unwrap())
}

#[test]
fn a_namespace_stands_for_the_netdevs_that_lead_there() {
    let facts = facts_with(found(Some(4)));
    assert_eq!(places(&attached(&["netns:web"], &facts)), ["br1:p", "netns:web", "veth2 by netns:web/eth0"]);
    let one = attached(&["netns:web/eth0"], &facts);
    assert_eq!(places(&one), ["br1:p", "netns:web/eth0", "veth2 by netns:web/eth0/eth0"]);
    let unlisted = facts_with(found(Some(5)));
    assert_eq!(places(&attached(&["netns:web"], &unlisted)), ["br1:p", "netns:web", "veth8 by netns:web"]);
}

#[test]
fn any_stands_for_every_netdev_where_a_cube_can_be_once() {
    let facts = facts_with(found(Some(4)));
    // `veth1` is the peer of br1:p, where `a` is already; `pcn0a` is the daemon's own, and `tun0` has no Ethernet.
    let everywhere = ["any", "br1:p", "kbr0 by any", "lo by any", "veth2 by any", "veth4 by any", "veth8 by any"];
    let mut model = attached(&["any"], &facts);
    assert_eq!(places(&model), everywhere);
    let mut more = facts_with(found(Some(4)));
    more.present.set(ethernet(9, "veth9"));
    model.choose(&more);
    assert!(places(&model).contains(&"veth9 by any".to_owned()));
    model.choose(&facts);
    assert_eq!(places(&model), everywhere);
    let model = attached(&["any", "veth2"], &facts);
    assert!(places(&model).contains(&"veth2".to_owned()), "a netdev that is named is not chosen");
    for to in [["any", "netns:web"], ["netns:web", "any"]] {
        let places = places(&attached(&to, &facts));
        let of_veth2: Vec<_> = places.iter().filter(|place| place.starts_with("veth2")).collect();
        assert_eq!(of_veth2, ["veth2 by netns:web/eth0"], "{to:?}");
    }
}

#[test]
fn what_was_chosen_follows_the_namespace_and_waits_with_it() {
    let mut model = attached(&["netns:web"], &facts_with(found(Some(4))));
    model.choose(&facts_with(Look::Unknown("no answer".to_owned())));
    assert_eq!(places(&model), ["br1:p", "netns:web", "veth2 by netns:web/eth0"], "it may be there still");
    model.choose(&facts_with(gone()));
    assert_eq!(places(&model), ["br1:p", "netns:web"]);
    model.choose(&facts_with(found(None)));
    assert_eq!(places(&model), ["br1:p", "netns:web"]);
    model.choose(&facts_with(found(Some(5))));
    assert_eq!(places(&model), ["br1:p", "netns:web", "veth8 by netns:web"], "another of its name is back");
    let chosen = Chosen { by: Selector::Inside(web(), None), inside: None };
    assert_eq!(chosen.name().as_deref(), Some("netns:web"));
}

#[test]
fn a_choice_goes_with_its_selector_and_its_cube() {
    let facts = facts_with(found(Some(4)));
    let model = attached(&["any", "netns:web"], &facts);
    let detach = |port: &str| Change::Detach { cube: "a".to_owned(), port: port.to_owned() };
    let model = change(&model, detach("any"), &facts).unwrap();
    assert_eq!(places(&model), ["br1:p", "netns:web", "veth2 by netns:web/eth0"]);
    let problems = change(&model, detach("veth2"), &facts).err().unwrap();
    let expected = "cube `a` is attached to veth2 by `netns:web`: detach it from netns:web";
    assert_eq!(problems.0[0].message, expected);
    let chains = export(&model)["chains"].clone();
    assert_eq!(chains, json!({ "br1:p": ["a"], "netns:web": ["a"] }), "what a user asked for");
    let model = change(&model, Change::DeleteCube { cube: "a".to_owned() }, &facts).unwrap();
    assert_eq!(model.topology.chains().count(), 0);
}

#[test]
fn a_selector_that_stands_for_nothing_is_refused() {
    let refused =
        |place, look, expected| check_refused(attach("a", place), &facts_with(look), &[("attach/port", expected)]);
    refused("netns:web", gone(), "it is gone");
    refused("netns:web", Look::Unknown("no answer".to_owned()), "no answer");
    refused("netns:web", found(None), "no netdev leads from here into `netns:web`");
    refused("netns:web/macvlan0", found(Some(4)), "netdev `macvlan0` of `netns:web` has no end here");
    refused("netns:web/eth1", found(Some(4)), "netdev `eth1` does not exist in `netns:web`");
    check_refused(create("tap", "netns", json!({})), &facts(), &[("netns", "begins places such as `netns:NAME`")]);
    check_refused(connect("br1:q", "any"), &facts(), &[("br1/ports/q/peer", "`any` can stand for several netdevs")]);
}

#[test]
fn a_change_names_the_namespaces_to_look_up() {
    let named = |change: Change| change.namespaces().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(named(attach("a", "container:web/eth0")), ["container:web"]);
    assert_eq!(named(attach("a", "any")), Vec::<String>::new());
    let body = json!({ "parents": ["netns:web", "veth1", "pid:7"] });
    assert_eq!(named(create("tap", "b", body.clone())), ["netns:web", "pid:7"]);
    assert_eq!(named(create("tap", "b", json!({ "parent": "pid:7,netns:web" }))), ["netns:web", "pid:7"]);
    assert_eq!(named(Change::CreateCubes { cubes: vec![body] }), ["netns:web", "pid:7"]);
}

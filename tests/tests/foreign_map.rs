//! Does a daemon that starts know its cubes' maps from those that others put in their place?

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use polycube_tests::bpf;
use polycube_tests::scene::Scene;

/// The same type and sizes, under the very name of the cube's own: only the kernel's id of the map tells.
#[test]
fn a_map_of_others_in_the_place_of_a_cubes_own_is_not_kept() -> Result<()> {
    let mut scene = Scene::set_up().peers(2).kept().bridge().start()?;
    let is_fdb = |pin: &PathBuf| pin.file_name().is_some_and(|name| name.to_string_lossy().starts_with("fdb-"));
    let fdb = |scene: &Scene| -> Result<PathBuf> {
        let pin = scene.daemon.pins()?.into_iter().find(is_fdb).context("no fdb")?;
        Ok(scene.daemon.bpffs_dir().join(pin))
    };
    let (pin, id_of) = (fdb(&scene)?, |pin: &Path| Ok::<_, anyhow::Error>(bpf::map_info(bpf::open(pin)?.as_fd())?.id));
    let own = bpf::map_info(bpf::open(&pin)?.as_fd())?;
    scene.daemon.kill9()?;
    let shape = bpf::Shape {
        map_type: own.type_,
        key_size: own.key_size,
        value_size: own.value_size,
        max_entries: own.max_entries,
        flags: own.map_flags,
    };
    let theirs = bpf::create(shape)?;
    fs::remove_file(&pin)?;
    bpf::pin(theirs.as_fd(), &pin)?;
    let (foreign, key) = (bpf::map_info(theirs.as_fd())?.id, vec![2; own.key_size as usize]);
    bpf::update(theirs.as_fd(), &key, &vec![1; own.value_size as usize])?;
    scene.daemon.restart()?;
    let after = fdb(&scene)?;
    ensure!(id_of(&after)? != foreign && !(pin.exists() && id_of(&pin)? == foreign), "the other's map is there");
    let log = scene.daemon.log();
    ensure!(log.contains("an earlier daemon's map of this name is another one") && log.contains("map=fdb"), "{log}");
    // What was made is taken over by the next daemon.
    let made = id_of(&after)?;
    scene.daemon.kill9()?;
    scene.daemon.restart()?;
    ensure!(id_of(&fdb(&scene)?)? == made, "the cube's own map is kept");
    Ok(())
}

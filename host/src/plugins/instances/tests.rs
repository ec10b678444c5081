use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use imbl::OrdMap;
use polycube_plugin_api::Refusal;
use serde_json::Value;

use super::*;
use crate::plugins::double::{panicked, scripted};
use crate::topology::{LogLevel, Role};

/// Long enough for whatever has to happen.
const LONG: Duration = Duration::from_secs(10);

/// Instances, and how often a turn that was wanted became free.
fn instances() -> (Instances, Arc<AtomicUsize>) {
    let freed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&freed);
    let surroundings = Surroundings {
        calls: Arc::default(),
        failures: Arc::default(),
        capture_dirs: CaptureDirs {
            dir: "/captures".into(),
            roots: vec!["/more".into()],
            memory: Some(7),
            ..CaptureDirs::default()
        },
        requests: Box::new(|_| Box::new(|_| {})),
        late_maps: Box::new(|_| Box::new(|_| Err(Refusal::failed("no maps")))),
        netdev_at: Arc::new(|_| None),
        freed: Box::new(move || {
            let count = Arc::clone(&count);
            Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            })
        }),
        slow_path: None,
    };
    (Instances::new(surroundings), freed)
}

fn name(name: &str) -> CubeName {
    CubeName::parse(name).unwrap()
}

fn names(names: &[&str]) -> BTreeSet<CubeName> {
    names.iter().map(|one| name(one)).collect()
}

fn cube() -> Cube {
    Cube {
        uuid: "the-uuid".to_owned(),
        service: "scripted".into(),
        loglevel: LogLevel::Info,
        config: Value::Null,
        role: Role::Standard(OrdMap::new()),
        ephemeral: None,
    }
}

/// Creates a cube that logs its calls, and that waits in those called `slow` for a message.
fn create(instances: &mut Instances, cube_name: &str, slow: &'static str, answer: Result<&str, String>) -> Script {
    let (release, held) = mpsc::channel::<()>();
    let (log, heard) = mpsc::channel();
    let (held, answer) = (Mutex::new(held), answer.map(str::to_owned));
    let plugin = scripted(cube_name, move |call, arguments, _| {
        log.send(format!("{call} {arguments}")).unwrap();
        if call != slow {
            return Ok("null".to_owned());
        }
        held.lock().unwrap().recv_timeout(LONG).unwrap();
        answer.clone()
    });
    instances.create(&name(cube_name), &cube(), &plugin).unwrap();
    let created: String = heard.recv().unwrap();
    assert!(created.starts_with("create "), "{created}");
    Script { release, heard }
}

struct Script {
    release: mpsc::Sender<()>,
    heard: mpsc::Receiver<String>,
}

impl Script {
    #[track_caller]
    fn assert_next(&self, call: &str) {
        assert_eq!(self.heard.recv_timeout(LONG).as_deref(), Ok(call));
    }
}

#[test]
fn a_plugin_gets_the_identity_of_its_cube_and_the_capture_directories() {
    let (mut instances, _) = instances();
    let (send, sent) = mpsc::channel();
    let plugin = scripted("informed", move |_, arguments, _| {
        send.send(arguments.to_owned()).unwrap();
        Ok(String::new())
    });
    instances.create(&name("informed"), &cube(), &plugin).unwrap();
    let info: Value = serde_json::from_str(&sent.recv().unwrap()).unwrap();
    let expected = json!({
        "name": "informed", "uuid": "the-uuid", "capture-dir": "/captures", "capture-roots": ["/more"],
        "capture-memory": 7, "capture-floor": null, "capture-group": null,
        "pcap-over-ip": null,
    });
    assert_eq!(info, expected);
    instances.remove(&name("informed"));
    assert!(instances.all().is_empty());
}

#[test]
fn a_cube_whose_plugin_refuses_is_not_there() {
    let (mut instances, _) = instances();
    let refusal = Refusal::failed("no license");
    for (cube_name, text, failure) in [
        ("refused", serde_json::to_string(&refusal).unwrap(), Failure::Refused(refusal)),
        ("broken", panicked("oh"), Failure::NotCreated("oh".to_owned())),
    ] {
        let plugin = scripted(cube_name, move |_, _, _| Err(text.clone()));
        assert_eq!(instances.create(&name(cube_name), &cube(), &plugin), Err(failure));
    }
    assert!(instances.all().is_empty());
}

#[test]
fn cubes_are_claimed_together_or_not_at_all() {
    let (mut instances, freed) = instances();
    let _scripts = ["claim1", "claim2"].map(|cube| create(&mut instances, cube, "", Ok("")));
    let turn = |instances: &Instances, cube: &str| Arc::clone(instances.get(&name(cube)).unwrap().turn());
    let (one, two) = (turn(&instances, "claim1"), turn(&instances, "claim2"));

    let call = one.take(Duration::ZERO).unwrap();
    let busy = instances.claim(&names(&["claim1", "claim2", "not-there"]));
    assert_eq!(busy, Err(names(&["claim1"])), "a cube that does not exist yet is not busy");
    drop(two.take_if_idle().expect("what was claimed beside a busy cube is free again"));
    assert_eq!(freed.load(Ordering::SeqCst), 0);
    drop(call);
    assert_eq!(freed.load(Ordering::SeqCst), 1, "the change that waits is tried again");

    assert_eq!(instances.claim(&names(&["claim1", "claim2"])), Ok(()));
    assert!(one.take_if_idle().is_none() && two.take_if_idle().is_none());
    instances.release();
    assert!(one.take_if_idle().is_some() && two.take_if_idle().is_some());
    assert_eq!(freed.load(Ordering::SeqCst), 1, "no change waits any more");
}

#[test]
fn a_claim_waits_for_a_call_that_is_about_to_return() {
    let (mut instances, _) = instances();
    instances.claim_patience = LONG;
    let _script = create(&mut instances, "brief", "", Ok(""));
    let call = instances.get(&name("brief")).unwrap().turn().take(Duration::ZERO).unwrap();
    let returning = std::thread::spawn(move || {
        std::thread::sleep(CLAIM / 10);
        drop(call);
    });
    assert_eq!(instances.claim(&names(&["brief"])), Ok(()));
    returning.join().unwrap();
}

/// Asserts the call, if any, that follows when `prepare` returns after the change was undone.
#[track_caller]
fn check_late(cube_name: &str, answer: Result<&str, String>, then: Option<&str>) {
    let (mut instances, _) = instances();
    let script = create(&mut instances, cube_name, "prepare", answer);
    let cube = name(cube_name);
    instances.claim(&names(&[cube_name])).unwrap();
    instances.patience = Duration::from_millis(20);
    assert_eq!(instances.prepare(&cube, "{}", Vec::new()), Err(overdue("prepare")));
    instances.release();
    let turn = Arc::clone(instances.get(&cube).unwrap().turn());
    assert!(turn.take(Duration::ZERO).is_none(), "the call that was left behind keeps the turn");
    script.assert_next("prepare {}");
    script.release.send(()).unwrap();
    drop(turn.take(LONG).expect("the turn is free when the call has returned"));
    assert_eq!(script.heard.try_recv().ok().as_deref(), then);
}

#[test]
fn a_plugin_that_prepares_too_late_has_to_forget_it() {
    check_late("late", Ok(""), Some("abort "));
    check_late("late-refusal", Err(serde_json::to_string(&Refusal::failed("no")).unwrap()), None);
    check_late("late-panic", Err(panicked("no")), None);
}

#[test]
fn a_plugin_that_does_not_return_holds_up_no_other() {
    let (mut instances, _) = instances();
    let stuck = create(&mut instances, "hangs", "datapath", Ok("{}"));
    let other = create(&mut instances, "works", "", Ok(""));
    instances.claim(&names(&["hangs", "works"])).unwrap();
    instances.patience = Duration::from_millis(20);
    assert_eq!(instances.datapath(&name("hangs"), "{}"), Err(overdue("datapath")));
    instances.patience = LONG;
    let begin = Instant::now();
    assert_eq!(instances.commit(&name("works")), Ok(()));
    assert!(begin.elapsed() < LONG / 2);
    instances.release();
    assert_eq!(instances.claim(&names(&["hangs", "works"])), Err(names(&["hangs"])));
    other.assert_next("commit ");
    stuck.release.send(()).unwrap();
    let turn = Arc::clone(instances.get(&name("hangs")).unwrap().turn());
    assert!(turn.take(LONG).is_some());
}

/// A scripted plugin that logs its calls, after `tag`.
fn logging(cube_name: &str, tag: &'static str, log: mpsc::Sender<String>) -> Plugin {
    scripted(cube_name, move |call, _, _| {
        log.send(format!("{tag} {call}")).unwrap();
        Ok("null".to_owned())
    })
}

#[test]
fn new_code_takes_the_place_of_the_old_when_it_commits_and_readers_reach_it() {
    let (mut instances, _) = instances();
    let (log, heard) = mpsc::channel();
    let cube_name = name("renewed");
    instances.create(&cube_name, &cube(), &logging("renewed", "old", log.clone())).unwrap();
    // As a reader of an earlier view has it.
    let old = Arc::clone(instances.get(&cube_name).unwrap());
    let calls = || heard.try_iter().collect::<Vec<_>>();
    assert_eq!(calls(), ["old create"]);

    instances.renew(&cube_name, &cube(), &logging("renewed", "undone", log.clone())).unwrap();
    instances.prepare(&cube_name, "{}", Vec::new()).unwrap();
    old.state().unwrap();
    instances.forget_renewed(&cube_name);
    instances.drop_removed();
    assert_eq!(calls(), ["undone create", "undone prepare", "old state"]);

    instances.renew(&cube_name, &cube(), &logging("renewed", "new", log)).unwrap();
    instances.claim(&names(&["renewed"])).unwrap();
    instances.prepare(&cube_name, "{}", Vec::new()).unwrap();
    instances.commit(&cube_name).unwrap();
    instances.release();
    old.state().unwrap();
    old.tick();
    assert_eq!(calls(), ["new create", "new prepare", "new commit", "new state", "new tick"]);
    assert!(Arc::ptr_eq(old.turn(), instances.get(&cube_name).unwrap().turn()), "the turn is the cube's");
}

#[test]
fn a_cube_that_is_created_too_late_is_not_there() {
    let (mut instances, _) = instances();
    instances.patience = Duration::from_millis(20);
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (begin, begun) = mpsc::channel();
    let plugin = scripted("slow-birth", move |_, _, _| {
        begin.send(()).unwrap();
        held.lock().unwrap().recv_timeout(LONG).unwrap();
        Ok(String::new())
    });
    let created = instances.create(&name("slow-birth"), &cube(), &plugin);
    assert_eq!(created, Err(Failure::Stuck { call: "create", seconds: 10 }));
    // Otherwise it might take the script of the next one.
    begun.recv_timeout(LONG).unwrap();
    release.send(()).unwrap();
    assert!(instances.all().is_empty());
    instances.patience = LONG;
    let _script = create(&mut instances, "slow-birth", "", Ok(""));
    assert!(instances.get(&name("slow-birth")).is_some());
}

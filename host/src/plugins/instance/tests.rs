use std::fs::File;
use std::io::{PipeReader, Read as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use polycube_plugin_api::abi::HostHandle;
use polycube_plugin_api::{Code, Direction, MapSpec, Program, Refusal};

use super::*;
use crate::plugins::double::{instance, panicked, scripted, ticking};
use crate::plugins::turn::KEPT;

/// An instance that gives the same answer to every call but its creation.
fn answering(cube: &str, answer: Result<&str, &str>) -> Instance {
    let answer = answer.map(str::to_owned).map_err(str::to_owned);
    instance(cube, move |call, _, _| if call == "create" { Ok(String::new()) } else { answer.clone() })
}

fn refused(refusal: Refusal) -> Failure {
    Failure::Refused(refusal)
}

/// A map as the datapath has it, and the other end of the pipe that stands for its descriptor.
fn map() -> (CubeMap, PipeReader) {
    let (reader, writer) = io::pipe().unwrap();
    (CubeMap { fd: writer.into(), id: 0, key_size: 4, value_size: 8, max_entries: 16 }, reader)
}

/// The output of an action of a plugin that knows no other answer.
fn act(cube: &Instance, action: &str, input: &Value) -> Result<Value, Failure> {
    cube.act(&json!({ "action": action, "input": input })).map(|acted| acted.output)
}

/// Asserts that no descriptor of the map is open any more.
#[track_caller]
fn assert_closed(map: CubeMap, mut other_end: PipeReader) {
    drop(map);
    let (report, reported) = mpsc::channel();
    std::thread::spawn(move || report.send(other_end.read(&mut [0])));
    let read = reported.recv_timeout(Duration::from_secs(10)).expect("a descriptor of the map is left open");
    assert_eq!(read.unwrap(), 0);
}

#[test]
fn an_answer_is_json_or_malformed() {
    for (number, (answer, expected)) in [
        (r#"{"entries":[1]}"#, Some(json!({ "entries": [1] }))),
        ("null", Some(Value::Null)),
        ("", None),
        ("{", None),
        ("{} {}", None),
    ]
    .into_iter()
    .enumerate()
    {
        let cube = answering(&format!("json{number}"), Ok(answer));
        for given in [cube.state(), act(&cube, "run", &json!({}))] {
            match &expected {
                Some(value) => assert_eq!(given.as_ref(), Ok(value), "{answer}"),
                None => assert!(matches!(given, Err(Failure::Malformed(_))), "{answer}: {given:?}"),
            }
        }
        assert_eq!(cube.failure(), None, "a wrong answer does not end the instance");
    }
}

#[test]
fn a_refusal_keeps_its_tag_and_place() {
    let missing = Refusal::new(Tag::DataMissing, "there is no such entry").at("fdb/entry");
    let cube = answering("refusing", Err(&serde_json::to_string(&missing).unwrap()));
    assert_eq!(cube.commit(), Err(refused(missing.clone())));
    assert_eq!(cube.open("files/a.pcap", &json!({}), None).unwrap_err(), refused(missing.clone()));
    assert_eq!(Refusal::from(cube.abort().unwrap_err()), missing, "the client sees what the plugin said");
    let cube = answering("mumbling", Err("no JSON"));
    assert!(matches!(cube.commit(), Err(Failure::Malformed(_))));
    assert_eq!(Refusal::from(cube.commit().unwrap_err()).tag, Tag::OperationFailed);
}

#[test]
fn a_panic_ends_the_instance_and_is_forgotten_with_it() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let cube = instance("panicking", move |call, _, _| match call {
        "create" => Ok(String::new()),
        _ => {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(panicked("index out of bounds"))
        }
    });
    let expected = Failure::Panicked("index out of bounds".to_owned());
    assert_eq!(cube.state(), Err(expected.clone()));
    assert_eq!(cube.commit(), Err(expected.clone()));
    assert_eq!(cube.datapath("{}"), Err(expected));
    cube.tick();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it is not called again");
    assert_eq!(cube.failure(), Some("index out of bounds"));
    let failures = Arc::clone(&cube.failures);
    assert_eq!(
        failures.all().into_iter().map(|(cube, why)| format!("{cube}: {why}")).collect::<Vec<_>>(),
        ["panicking: index out of bounds"]
    );
    drop(cube);
    assert!(failures.all().is_empty());
}

#[test]
fn a_plugin_that_panics_on_creation_leaves_no_failed_cube() {
    let failures = Arc::new(Failures::default());
    let calls = Arc::new(Calls::default());
    let create = |cube: &str, refusal: String| {
        let plugin = scripted(cube, move |_, _, _| Err(refusal.clone()));
        let connections = Connections {
            calls: Arc::clone(&calls),
            failures: Arc::clone(&failures),
            configure: Box::new(|_| {}),
            slow_path: None,
            make_map: Box::new(|_| Err(Refusal::failed("no maps"))),
            netdev_at: Arc::new(|_| None),
            freed: Box::new(|| {}),
        };
        Instance::create(&plugin, cube, &json!({ "name": cube }), LogLevel::Info, connections).err()
    };
    assert_eq!(create("stillborn", panicked("no memory")), Some(Failure::NotCreated("no memory".to_owned())));
    let no = Refusal::failed("no license");
    assert_eq!(create("unwanted", serde_json::to_string(&no).unwrap()), Some(refused(no)));
    assert!(failures.all().is_empty());
}

#[test]
fn a_datapath_is_checked_before_it_is_used() {
    let spec = |point: u32| {
        let code = Code::Instructions { maps: Vec::new() };
        let program = Program { point, direction: Direction::Ingress, stage: 0, object: 0, code };
        serde_json::to_string(&Datapath { programs: vec![program], ..Datapath::default() }).unwrap()
    };
    let inside = answering("inside", Ok(&spec(0)));
    let datapath = inside.datapath("{}").unwrap();
    assert_eq!(datapath.objects, [Arc::from([1_u8, 2])]);
    assert_eq!(datapath.programs.iter().map(in_words).collect::<Vec<_>>(), ["a generated one at point 0 ingress"]);
    assert!(Arc::ptr_eq(&inside.datapath("{}").unwrap().objects[0], &datapath.objects[0]), "it is kept once");
    let refused = answering("outside", Ok(&spec(1))).datapath("{}").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the datapath of service `scripted` cannot be used: a generated one at point 1 ingress: a standard cube's programs \
         stand at point 0, which is all of its ports: use `at_ports` or `leaving_ports`"
    );
    assert_eq!(Refusal::from(refused).tag, Tag::OperationFailed);
    assert!(matches!(answering("shapeless", Ok("[]")).datapath("{}"), Err(Failure::Malformed(_))));
}

#[test]
fn a_plugin_gets_copies_of_its_maps_and_the_host_keeps_none() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    let cube = instance("prepared", move |call, arguments, _| {
        log.lock().unwrap().push(format!("{call} {arguments}"));
        Ok(String::new())
    });
    let (map, other_end) = map();
    cube.prepare("{}", vec![MapCopy::of("fdb", &map, true).unwrap()]).unwrap();
    let heard = heard.lock().unwrap();
    let info: Value = serde_json::from_str(heard[1].strip_prefix("prepare {} ").unwrap()).unwrap();
    assert_eq!(info, json!({ "name": "fdb", "key_size": 4, "value_size": 8, "max_entries": 16, "new": true }));
    assert_closed(map, other_end);
}

/// Handles were made before it was known whether the plugin is called, and a descriptor in one closes with nothing.
#[test]
fn maps_for_a_plugin_that_is_not_called_any_more_are_closed() {
    let cube = answering("deaf", Err(&panicked("gone")));
    cube.commit().unwrap_err();
    let (map, other_end) = map();
    assert_eq!(
        cube.prepare("{}", vec![MapCopy::of("fdb", &map, false).unwrap()]),
        Err(Failure::Panicked("gone".to_owned()))
    );
    assert_closed(map, other_end);
}

#[test]
fn a_stream_has_a_description_and_a_descriptor() {
    let cube = answering("streaming", Ok(r#"{"media":"text/plain","file-name":"a.txt"}"#));
    let Stream { info, fd } = cube.open("files/a.txt", &json!({}), None).unwrap();
    assert_eq!((info.media.as_str(), info.file_name.as_deref(), info.id), ("text/plain", Some("a.txt"), None));
    let mut content = Vec::new();
    File::from(fd).read_to_end(&mut content).unwrap();
    assert_eq!(content, [0_u8; 0]);
    let nameless = answering("nameless", Ok(r#"{"file-name":"a.txt"}"#)).open("files/a.txt", &json!({}), None);
    assert!(matches!(nameless, Err(Failure::Malformed(_))), "media is required: {nameless:?}");
}

#[test]
fn a_call_that_does_not_return_makes_later_ones_fail_at_once() {
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let (begin, begun) = mpsc::channel();
    let cube = instance("stuck", move |call, _, _| {
        if call == "action" {
            begin.send(()).unwrap();
            held.lock().unwrap().recv().unwrap();
        }
        Ok("1".to_owned())
    });
    let cube = Arc::new(cube);
    let caller = Arc::clone(&cube);
    let slow = std::thread::spawn(move || act(&caller, "wait", &Value::Null));
    begun.recv().unwrap();
    assert_eq!(cube.state(), Ok(json!(1)), "calls that are merely slow do not stop others");
    cube.calls.age();
    assert_eq!(cube.stuck().map(|stuck| stuck.call), Some("action"));
    assert!(matches!(cube.state(), Err(Failure::Stuck { call: "action", seconds: 10.. })), "{:?}", cube.state());
    release.send(()).unwrap();
    assert_eq!(slow.join().unwrap(), Ok(json!(1)), "the late answer is still the answer");
    assert_eq!((cube.stuck(), cube.state()), (None, Ok(json!(1))));
}

#[test]
fn a_tick_stays_away_from_a_cube_while_its_turn_is_taken() {
    let (cube, ticks) = ticking("busy-ticks");
    let count = || ticks.load(Ordering::SeqCst);
    cube.tick();
    assert_eq!(count(), 1);
    let turn = cube.turn().take(Duration::ZERO).unwrap();
    cube.tick();
    cube.turn().want();
    cube.tick();
    assert_eq!(count(), 1, "a change holds the turn, and another one waits for it");
    let before = Instant::now();
    drop(turn);
    cube.tick();
    let ticked = count();
    assert!(ticked == 1 || before.elapsed() >= KEPT, "the turn is kept for what waited");
    std::thread::sleep(KEPT);
    cube.tick();
    assert_eq!(count(), ticked + 1, "what waited may not come for the turn");
}

#[test]
fn a_plugin_asks_for_changes_as_json_only() {
    let (send, asked) = mpsc::channel();
    let plugin = scripted("asking", |call, arguments, host: &HostHandle| {
        if call == "action" {
            host.configure(arguments.strip_prefix("ask ").unwrap().trim_matches('"').into());
        }
        Ok("null".to_owned())
    });
    let connections = Connections {
        calls: Arc::default(),
        failures: Arc::default(),
        configure: Box::new(move |patch| send.send(patch).unwrap()),
        make_map: Box::new(|_| Err(Refusal::failed("no maps"))),
        netdev_at: Arc::new(|_| None),
        freed: Box::new(|| {}),
        slow_path: None,
    };
    let info = json!({ "name": "asking" });
    let cube = Instance::create(&plugin, "asking", &info, LogLevel::Off, connections).unwrap();
    for patch in [json!({ "size": 5 }), json!("not JSON"), json!([1])] {
        act(&cube, "ask", &patch).unwrap();
    }
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [json!({ "size": 5 }), json!([1])]);
}

#[test]
fn a_plugin_gets_the_late_map_that_it_asks_for_or_a_reason() {
    let plugin = scripted("later", |call, arguments, host: &HostHandle| {
        if call != "action" {
            return Ok("null".to_owned());
        }
        let made = host.make_map(arguments.strip_prefix("make ").unwrap().into()).into_result();
        let text = match made {
            Ok(map) => {
                // SAFETY: the host passes ownership of an open descriptor.
                drop(unsafe { OwnedFd::from_raw_fd(map.fd) });
                map.info
            }
            Err(reason) => reason,
        };
        Ok(json!(text.as_str()).to_string())
    });
    let connections = Connections {
        calls: Arc::default(),
        failures: Arc::default(),
        configure: Box::new(|_| {}),
        make_map: Box::new(|spec| match spec.late {
            true => Ok(MapCopy { info: spec.name, fd: File::open("/dev/null").unwrap().into() }),
            false => Err(Refusal::failed("it is not late")),
        }),
        netdev_at: Arc::new(|_| None),
        slow_path: None,
        freed: Box::new(|| {}),
    };
    let cube = Instance::create(&plugin, "later", &json!({ "name": "later" }), LogLevel::Off, connections).unwrap();
    let answer = |spec: Value| act(&cube, "make", &spec).unwrap().as_str().unwrap().to_owned();
    let spec = MapSpec { late: true, ..MapSpec::declared("LARGE") };
    assert_eq!(answer(json!(spec)), "LARGE");
    assert!(answer(json!(MapSpec::declared("LARGE"))).contains("it is not late"));
    assert!(answer(json!([1])).contains("invalid-value"));
}

#[test]
fn the_loglevel_of_a_cube_can_change() {
    let cube = answering("levels", Ok("null"));
    assert!(cube.admits(Level::Info) && !cube.admits(Level::Debug));
    cube.set_level(LogLevel::Debug);
    assert!(cube.admits(Level::Debug) && !cube.admits(Level::Trace));
    cube.set_level(LogLevel::Off);
    assert!(!cube.admits(Level::Error));
}

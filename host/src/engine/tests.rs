use imbl::OrdMap;
use serde_json::json;
use tokio::sync::mpsc::error::TryRecvError;

use super::*;
use crate::containers::Containers;
use crate::model::Deferred;
use crate::netdev::Table;
use crate::plugins::double::ticking;
use crate::wiring::Netdevs;

fn name(name: &str) -> CubeName {
    CubeName::parse(name).unwrap()
}

/// A handle to an engine that only exists as its inbox.
fn handle(instances: OrdMap<CubeName, Arc<Instance>>) -> (Handle, mpsc::UnboundedReceiver<Message>) {
    let (messages, inbox) = mpsc::unbounded_channel();
    let view = View {
        topology: Topology::default(),
        registry: Registry::new().unwrap(),
        deferred: Deferred::default(),
        netdevs: Netdevs::default(),
        present: Table::default(),
        instances,
        unrestored: OrdMap::new(),
        datapaths: OrdMap::new(),
    };
    let view = Arc::new(RwLock::new(Arc::new(view)));
    (Handle::new(messages, view, Arc::from([]), Arc::default(), Arc::new(Containers::new(&[], &[]))), inbox)
}

fn delete(cube: &str) -> Change {
    Change::DeleteCube { cube: cube.to_owned() }
}

#[track_caller]
fn assert_shutting_down(answer: Answer) {
    let problems = answer.expect_err("no engine is there to make the change");
    let messages: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    assert!(messages.len() == 1 && messages[0].contains("shutting down"), "{messages:?}");
}

#[test]
fn plugins_reach_the_engine_and_do_not_keep_it() {
    let (messages, mut inbox) = mpsc::unbounded_channel();
    let dirs = CaptureDirs { dir: "/".into(), ..CaptureDirs::default() };
    let ways = Ways { netdev_at: Arc::new(|_| None), slow_path: None };
    let surroundings = surroundings(&messages.downgrade(), (&Arc::default(), &Arc::default()), dirs, ways);
    let (first, second) = ((surroundings.requests)(&name("br1")), (surroundings.requests)(&name("br2")));
    let freed = (surroundings.freed)();
    second(json!({ "size": 2 }));
    freed();
    first(json!({ "size": 1 }));
    let Ok(Message::Ask(Ask::Request(cube, patch))) = inbox.try_recv() else { panic!("no request") };
    assert_eq!((cube, patch), (name("br2"), json!({ "size": 2 })));
    assert!(matches!(inbox.try_recv(), Ok(Message::Freed)));
    let Ok(Message::Ask(Ask::Request(cube, patch))) = inbox.try_recv() else { panic!("no request") };
    assert_eq!((cube, patch), (name("br1"), json!({ "size": 1 })));
    drop(messages);
    assert_eq!(inbox.try_recv().err(), Some(TryRecvError::Disconnected), "the engine ends with its last handle");
    // A plugin's thread may outlive the engine.
    first(json!({}));
    freed();
}

#[test]
fn one_message_to_look_is_enough() {
    let (handle, mut inbox) = handle(OrdMap::new());
    handle.look();
    handle.clone().look();
    assert!(matches!(inbox.try_recv(), Ok(Message::Look)));
    assert_eq!(inbox.try_recv().err(), Some(TryRecvError::Empty));
}

#[test]
fn ticks_get_the_instances_until_the_engine_has_ended() {
    let (cube, _) = ticking("viewed");
    let (handle, mut inbox) = handle([(name("viewed"), Arc::clone(&cube))].into_iter().collect());
    let mut instances = handle.for_ticks();
    let found = instances().unwrap();
    assert!(found.len() == 1 && Arc::ptr_eq(&found[0], &cube));
    assert!(matches!(inbox.try_recv(), Ok(Message::Look)), "each round looks at the netdevs");
    drop(handle);
    assert!(instances().is_none());
}

#[tokio::test]
async fn a_change_without_an_engine_is_refused() {
    let (handle, mut inbox) = handle(OrdMap::new());
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.change(delete("br1")).await }
    });
    let Some(Message::Ask(Ask::Change { change, guard, answer })) = inbox.recv().await else { panic!("no change") };
    assert!(matches!(change, Change::DeleteCube { cube } if cube == "br1") && guard.is_none());
    drop(answer);
    assert_shutting_down(waiting.await.unwrap());
    drop(inbox);
    assert_shutting_down(handle.change(delete("br1")).await);
    handle.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_closes_its_change() {
    let (handle, mut inbox) = handle(OrdMap::new());
    let mut change = Box::pin(handle.change(delete("br1")));
    assert!(futures_util::poll!(&mut change).is_pending());
    let Some(Message::Ask(Ask::Change { answer, .. })) = inbox.recv().await else { panic!("no change") };
    assert!(!answer.is_closed());
    drop(change);
    assert!(answer.is_closed(), "the engine sees that nothing waits for the answer");
}

#[tokio::test]
async fn only_a_panic_of_the_engine_ends_the_process() {
    let (report, supervisor) = Supervisor::new();
    report.panicked();
    supervisor.panicked().await;
    let (report, supervisor) = Supervisor::new();
    drop(report);
    assert!(futures_util::poll!(Box::pin(supervisor.panicked())).is_pending(), "it has ended as it was asked to");
}

#[test]
fn a_plugin_that_fails_when_its_programs_run_is_reported_as_such() {
    let problem = in_force(&name("br1"), "index out of bounds");
    assert_eq!(problem.path, "br1");
    let message = problem.to_string();
    assert!(message.contains("the change is in force") && message.contains("index out of bounds"), "{message}");
}

#[test]
fn parked_changes_keep_their_order_and_the_time_since_they_came() {
    let mut parked = Parked::default();
    let begin = Instant::now();
    let busy = |cube: &str| BTreeSet::from([name(cube)]);
    for (number, cube) in ["b", "a", "b"].into_iter().enumerate() {
        parked.add(Ask::Request(name(cube), json!(number)), busy(cube), begin + Duration::from_secs(number as u64));
    }
    let resumed = parked.take_all();
    let order: Vec<_> = resumed
        .iter()
        .map(|Resumed { ask, since }| match ask {
            Ask::Request(cube, patch) => (cube.as_str(), patch.as_u64(), (*since - begin).as_secs()),
            Ask::Change { .. } => panic!("not what was parked"),
        })
        .collect();
    assert_eq!(order, [("b", Some(0), 0), ("a", Some(1), 1), ("b", Some(2), 2)]);
    assert!(parked.take_all().is_empty());
}

#[tokio::test]
async fn an_action_of_no_cube_calls_no_plugin() {
    let (handle, _inbox) = handle(OrdMap::new());
    let problems = handle.act(|| None, "nowhere", &["run".to_owned()], json!({})).await.unwrap_err();
    assert!(problems.0[0].to_string().contains("`nowhere` does not exist"), "{problems:?}");
}

//! Tests of the store, with real files.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::mpsc;

use serde_json::json;

use super::*;
use crate::file_type::FileType;
use crate::model::{SavedAttachment, SavedCube, SavedService};
use crate::topology::LogLevel;

fn cube(uuid: &str) -> SavedCube {
    SavedCube {
        uuid: uuid.to_owned(),
        service: "tap".to_owned(),
        loglevel: LogLevel::Info,
        config: json!({ "size": 1 }),
        ports: None,
    }
}

fn write(store: &Store, rows: Vec<Row>) -> Result<(), NotStored> {
    let (sender, receiver) = mpsc::channel();
    store.write(rows, Box::new(move |result| drop(sender.send(result))));
    receiver.recv().unwrap()
}

fn reopen(directory: &Path) -> (Store, Contents) {
    without_trial(directory).unwrap()
}

/// A trial would run this test's program.
fn without_trial(directory: &Path) -> Result<(Store, Contents), StoreError> {
    Store::open_after(directory, |_| Ok(()))
}

#[test]
fn what_was_written_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let (store, contents) = reopen(directory.path());
    assert_eq!(contents.saved, Saved::default());
    let chain = vec![SavedAttachment { cube: "s1".to_owned(), id: 3, chosen: None }];
    let service = SavedService { uri: None, file_type: FileType::Lib };
    let rows = vec![
        Row::Cube("s1".to_owned(), Some(cube("one"))),
        Row::Cube("s2".to_owned(), Some(cube("two"))),
        Row::Chain("veth1".to_owned(), Some(chain.clone())),
        Row::Service("bridge".to_owned(), Some(service.clone())),
    ];
    write(&store, rows).unwrap();
    write(&store, vec![Row::Cube("s2".to_owned(), None)]).unwrap();
    drop(store);
    let (_, contents) = reopen(directory.path());
    let expected = Saved {
        services: BTreeMap::from([("bridge".to_owned(), service)]),
        cubes: BTreeMap::from([("s1".to_owned(), cube("one"))]),
        chains: BTreeMap::from([("veth1".to_owned(), chain)]),
        unreadable: BTreeMap::new(),
    };
    assert_eq!(contents.saved, expected);
    assert_eq!(contents.damaged, None);
}

#[test]
fn only_its_owner_reads_the_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let _store = reopen(directory.path());
    let mode = std::fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_damaged_store_is_put_aside_and_a_new_one_is_made() {
    for garbage in [&b"not a database at all, and quite a bit longer than its header would be"[..], &[0; 70_000]] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), garbage).unwrap();
        let (store, contents) = reopen(directory.path());
        assert_eq!(contents.saved, Saved::default());
        let aside = contents.damaged.unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), garbage, "what was there is kept");
        assert!(aside.file_name().unwrap().to_str().unwrap().contains("damaged-20"), "{aside:?}");
        write(&store, vec![Row::Cube("s1".to_owned(), Some(cube("one")))]).unwrap();
    }
}

#[test]
fn a_store_that_was_cut_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = reopen(directory.path());
    let many = (0..500).map(|number| Row::Cube(format!("s{number}"), Some(cube("one")))).collect();
    write(&store, many).unwrap();
    drop(store);
    let file = OpenOptions::new().write(true).open(directory.path().join(FILE)).unwrap();
    file.set_len(5_000).unwrap();
    let (_store, contents) = reopen(directory.path());
    assert!(contents.damaged.is_some_and(|aside| aside.exists()));
}

#[test]
fn a_store_that_ends_anywhere_is_put_aside_or_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    drop(reopen(directory.path()));
    let whole = std::fs::read(&path).unwrap();
    let lengths = (1..=400).chain((400..whole.len()).step_by(4096)).chain([whole.len() - 1]);
    for length in lengths {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (store, contents) = reopen(directory.path());
        assert!(length > 400 || contents.damaged.is_some(), "{length} bytes");
        drop(store);
        contents.damaged.iter().for_each(|aside| std::fs::remove_file(aside).unwrap());
    }
}

#[test]
fn a_store_that_the_database_panics_at_is_put_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    let (store, _) = reopen(directory.path());
    let many = (0..40).map(|number| Row::Cube(format!("s{number}"), Some(cube("one")))).collect();
    write(&store, many).unwrap();
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let mut put_aside = 0;
    for page in (4096..whole.len()).step_by(4096) {
        let mut damaged = whole.clone();
        damaged[page..page + 4096].fill(0);
        std::fs::write(&path, &damaged).unwrap();
        put_aside += usize::from(reopen(directory.path()).1.damaged.is_some());
        std::fs::remove_file(&path).unwrap();
    }
    assert!(put_aside > 1, "some pages are in use");
}

#[test]
fn a_store_that_goes_after_an_error_is_not_made_again_with_the_last_changes_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    drop(reopen(directory.path()));
    std::fs::remove_file(&path).unwrap();
    let pending = vec![Row::Cube("s2".to_owned(), Some(cube("two")))];
    let mut thread = Thread::new(path.clone(), None, Arc::default());
    thread.pending = pending;
    let why = thread.write().unwrap_err();
    assert!(why.to_string().contains("No such file"), "{why}");
    assert!(!path.exists() && thread.pending.len() == 1, "it is tried again, and nothing is lost meanwhile");
}

#[test]
fn a_later_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    drop(reopen(directory.path()));
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("version", VERSION + 1).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let message = without_trial(directory.path()).err().unwrap().to_string();
    assert!(message.contains("later version of polycubed"), "{message}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_row_that_cannot_be_read_stays_and_the_others_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = reopen(directory.path());
    write(&store, vec![Row::Cube("s1".to_owned(), Some(cube("one")))]).unwrap();
    drop(store);
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(CUBES).unwrap().insert("odd", &b"{"[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let (store, contents) = reopen(directory.path());
    assert_eq!(contents.saved.cubes.keys().collect::<Vec<_>>(), ["s1"]);
    let odd = &contents.saved.unreadable["odd"];
    assert!(odd.why.starts_with("what is stored of it cannot be read (EOF"), "{}", odd.why);
    drop(store);
    let database = Database::open(directory.path().join(FILE)).unwrap();
    let transaction = database.begin_read().unwrap();
    assert!(transaction.open_table(CUBES).unwrap().get("odd").unwrap().is_some());
}

#[test]
fn a_service_that_an_earlier_version_wrote_is_a_library() {
    let service: SavedService = serde_json::from_str(r#"{ "uri": "/plugins/libpcn_x.so" }"#).unwrap();
    assert_eq!(service.file_type, FileType::Lib);
    let object = SavedService { uri: None, file_type: FileType::Object };
    assert_eq!(serde_json::to_value(object).unwrap(), json!({ "uri": null, "type": "object" }));
}

#[test]
fn a_store_that_does_not_pass_its_trial_is_put_aside_unopened() {
    let directory = tempfile::tempdir().unwrap();
    let refuse = |_: &Path| Err(TrialError::Ended(ExitStatus::from_raw(libc::SIGABRT)));
    let (store, contents) = Store::open_after(directory.path(), refuse).unwrap();
    assert_eq!(contents.damaged, None, "a new store needs no trial");
    write(&store, vec![Row::Cube("s1".to_owned(), Some(cube("one")))]).unwrap();
    drop(store);
    let (_store, contents) = Store::open_after(directory.path(), refuse).unwrap();
    assert!(contents.damaged.is_some_and(|aside| aside.exists()));
    assert_eq!(contents.saved, Saved::default());
}

//! One contract, two hosts: whatever a node may expect of the outside world is tried on this machine and in the simulation.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ottla_host::{Disk, File, Host, Listener, Net, OpenMode, SimWorld};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::LocalSet;

type Story = fn(Host, Box<Path>) -> Pin<Box<dyn Future<Output = ()>>>;

/// Tells a story on both hosts, each time with an empty directory.
fn check(story: Story) {
    let dir = tempfile::tempdir().unwrap();
    let runtime = ottla_host::runtime().unwrap();
    LocalSet::new().block_on(&runtime, story(Host::machine().unwrap(), dir.path().into()));

    let host = Host::simulated(&SimWorld::new(7));
    host.disk.create_dir_all("/data").unwrap();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, story(host, Path::new("/data").into()));
}

/// As [`check`], for what needs no time.
macro_rules! on_both_hosts {
    ($(#[$doc:meta])* $name:ident, |$host:ident, $dir:ident| $body:block) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            check(|$host, $dir| Box::pin(async move { $body }));
        }
    };
}

fn content(disk: &Disk, path: impl AsRef<Path>) -> Vec<u8> {
    disk.read(path, 1 << 20).unwrap()
}

fn names(disk: &Disk, dir: &Path) -> Vec<(String, bool)> {
    disk.list(dir).unwrap().into_iter().map(|entry| (entry.name, entry.is_dir)).collect()
}

on_both_hosts!(bytes_are_read_where_they_were_written, |host, dir| {
    let file = host.disk.open(dir.join("log"), OpenMode::CreateNew).unwrap();

    file.pwrite_all(b"...world", 6).unwrap();
    let parts = [Bytes::from_static(b"hel"), Bytes::new(), Bytes::from_static(b"lo, ")];
    file.pwritev_all(&parts, 1).unwrap();

    assert_eq!(file.len().unwrap(), 14);
    assert_eq!(content(&host.disk, dir.join("log")), b"\0hello, .world");
    let mut some = [0; 4];
    file.read_exact_at(&mut some, 2).unwrap();
    assert_eq!(&some, b"ello");
});

on_both_hosts!(thousands_of_parts_are_written_in_order, |host, dir| {
    let file = host.disk.open(dir.join("log"), OpenMode::Create).unwrap();
    let parts: Vec<Bytes> = (0..3000_u32).map(|n| Bytes::from(format!("{n};"))).collect();
    let whole: Vec<u8> = parts.concat();

    file.pwritev_all(&parts, 0).unwrap();

    assert_eq!(content(&host.disk, dir.join("log")), whole);
});

on_both_hosts!(a_read_ends_where_the_file_ends, |host, dir| {
    let file = host.disk.open(dir.join("log"), OpenMode::Create).unwrap();
    file.pwrite_all(b"abc", 0).unwrap();
    let mut into = [b'x'; 4];

    assert_eq!(file.pread(&mut into, 1).unwrap(), 2);
    assert_eq!(&into, b"bcxx");
    assert_eq!(file.pread(&mut into, 3).unwrap(), 0);
    assert_eq!(file.pread(&mut into, 1 << 40).unwrap(), 0);
    assert_eq!(file.read_exact_at(&mut into, 0).unwrap_err().kind(), ErrorKind::UnexpectedEof);
});

on_both_hosts!(a_file_is_cut_and_extended_with_zeros, |host, dir| {
    let file = host.disk.open(dir.join("log"), OpenMode::Create).unwrap();
    file.pwrite_all(b"abcdef", 0).unwrap();

    file.set_len(2).unwrap();
    file.set_len(4).unwrap();

    assert_eq!(content(&host.disk, dir.join("log")), b"ab\0\0");
    file.allocate_zeroed(2..200_000).unwrap();
    assert_eq!(file.len().unwrap(), 200_000);
});

on_both_hosts!(a_file_opened_for_reading_is_not_written, |host, dir| {
    host.disk.open(dir.join("log"), OpenMode::Create).unwrap();
    let file = host.disk.open(dir.join("log"), OpenMode::Read).unwrap();

    assert!(file.pwrite_all(b"a", 0).is_err());
    assert!(file.set_len(3).is_err());
    assert_eq!(file.len().unwrap(), 0);
});

on_both_hosts!(each_way_to_open_says_what_must_exist, |host, dir| {
    let open = |name: &str, mode| host.disk.open(dir.join(name), mode).map_err(|error| error.kind());

    assert_eq!(open("log", OpenMode::Read).unwrap_err(), ErrorKind::NotFound);
    assert_eq!(open("log", OpenMode::Write).unwrap_err(), ErrorKind::NotFound);
    assert_eq!(open("no/log", OpenMode::Create).unwrap_err(), ErrorKind::NotFound);
    open("log", OpenMode::CreateNew).unwrap().pwrite_all(b"kept", 0).unwrap();
    assert_eq!(open("log", OpenMode::CreateNew).unwrap_err(), ErrorKind::AlreadyExists);
    open("log", OpenMode::Create).unwrap();
    open("log", OpenMode::Write).unwrap();
    assert_eq!(content(&host.disk, dir.join("log")), b"kept");
});

on_both_hosts!(names_are_listed_in_order, |host, dir| {
    host.disk.create_dir_all(dir.join("b/inner")).unwrap();
    host.disk.create_dir_all(dir.join("b")).unwrap();
    host.disk.open(dir.join("c"), OpenMode::Create).unwrap();
    host.disk.open(dir.join("a"), OpenMode::Create).unwrap();

    let expected = [("a".to_owned(), false), ("b".to_owned(), true), ("c".to_owned(), false)];
    assert_eq!(names(&host.disk, &dir), expected);
    assert_eq!(host.disk.list(dir.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
});

on_both_hosts!(a_rename_replaces_a_file_and_moves_a_directory, |host, dir| {
    host.disk.replace(dir.join("old"), b"old").unwrap();
    host.disk.replace(dir.join("new"), b"new").unwrap();
    host.disk.create_dir_all(dir.join("topic-0")).unwrap();
    host.disk.replace(dir.join("topic-0/log"), b"records").unwrap();

    host.disk.rename(dir.join("new"), dir.join("old")).unwrap();
    host.disk.rename(dir.join("topic-0"), dir.join("topic-0-delete")).unwrap();

    assert_eq!(content(&host.disk, dir.join("old")), b"new");
    assert!(!host.disk.exists(dir.join("new")));
    assert_eq!(content(&host.disk, dir.join("topic-0-delete/log")), b"records");
    assert_eq!(host.disk.rename(dir.join("none"), dir.join("old")).unwrap_err().kind(), ErrorKind::NotFound);
});

on_both_hosts!(what_is_removed_is_gone_and_can_still_be_read_by_who_has_it, |host, dir| {
    host.disk.create_dir_all(dir.join("topic-0")).unwrap();
    host.disk.replace(dir.join("topic-0/log"), b"records").unwrap();
    host.disk.replace(dir.join("fact"), b"fact").unwrap();
    let held = host.disk.open(dir.join("topic-0/log"), OpenMode::Read).unwrap();

    host.disk.remove_file(dir.join("fact")).unwrap();
    host.disk.remove_dir_all(dir.join("topic-0")).unwrap();
    host.disk.sync_dir(&dir).unwrap();

    assert_eq!(names(&host.disk, &dir), []);
    let mut into = [0; 7];
    held.read_exact_at(&mut into, 0).unwrap();
    assert_eq!(&into, b"records");
    assert_eq!(host.disk.remove_file(dir.join("fact")).unwrap_err().kind(), ErrorKind::NotFound);
});

on_both_hosts!(a_small_file_is_replaced_whole_and_read_within_a_bound, |host, dir| {
    host.disk.replace(dir.join("format"), b"a longer first content").unwrap();
    host.disk.replace(dir.join("format"), b"2").unwrap();

    assert_eq!(content(&host.disk, dir.join("format")), b"2");
    assert_eq!(names(&host.disk, &dir).len(), 1);
    host.disk.replace(dir.join("format"), b"12345").unwrap();
    assert_eq!(host.disk.read(dir.join("format"), 4).unwrap_err().kind(), ErrorKind::InvalidData);
});

on_both_hosts!(a_lock_has_one_holder, |host, dir| {
    let held = host.disk.lock(dir.join("lock")).unwrap();

    assert_eq!(host.disk.lock(dir.join("lock")).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(held);
    host.disk.lock(dir.join("lock")).unwrap();
});

on_both_hosts!(hints_and_free_space_disturb_nothing, |host, dir| {
    let file = host.disk.open(dir.join("log"), OpenMode::Create).unwrap();
    file.pwrite_all(b"abc", 0).unwrap();

    file.write_out(0..3).unwrap();
    let never_over = host.disk.hurry();
    file.write_out(0..3).unwrap();
    drop(never_over);
    file.forget(0..3);

    assert_eq!(content(&host.disk, dir.join("log")), b"abc");
    assert!(host.disk.free_bytes(&dir).unwrap() > 0);
    assert!(host.disk.total_bytes(&dir).unwrap() >= host.disk.free_bytes(&dir).unwrap());
});

on_both_hosts!(a_sync_answers, |host, dir| {
    let file = host.disk.open(dir.join("log"), OpenMode::Create).unwrap();
    file.pwrite_all(b"abc", 0).unwrap();
    let (done, answer) = oneshot::channel();

    file.sync_data().unwrap();
    file.sync_then(Box::new(|result| done.send(result).unwrap()));

    answer.await.unwrap().unwrap();
});

on_both_hosts!(the_clock_goes_forward_and_sleeps_long_enough, |host, _dir| {
    let before = host.clock.now();
    host.clock.sleep_until(before.mono_ms + 20).await;
    let after = host.clock.now();
    host.clock.sleep_until(before.mono_ms).await;

    assert!(after.mono_ms >= before.mono_ms + 20, "{before:?} {after:?}");
    assert!(host.clock.now().mono_ms >= after.mono_ms);
    assert!(after.wall_ms > 1_700_000_000_000, "{after:?}");
});

on_both_hosts!(all_jobs_run_and_a_panic_costs_only_its_own, |host, _dir| {
    let (ran, all_ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    for index in 0..100 {
        let (ran, all_ran) = (Arc::clone(&ran), Arc::clone(&all_ran));
        host.pool
            .run(move || {
                assert!(index % 10 != 3, "this job panics, as the test wants");
                if ran.fetch_add(1, Ordering::SeqCst) + 1 == 90 {
                    all_ran.notify_one();
                }
            })
            .unwrap();
    }

    all_ran.notified().await;

    assert_eq!(ran.load(Ordering::SeqCst), 90);
});

on_both_hosts!(chance_fills_everything_and_does_not_repeat_itself, |host, _dir| {
    let (mut one, mut two) = ([0; 37], [0; 37]);
    host.chance.fill(&mut one);
    host.chance.fill(&mut two);

    assert_ne!(one, two);
    assert_ne!(one[29..], [0; 8]);
    assert_ne!(host.chance.u64(), host.chance.u64());
    assert!((0..100).all(|_| host.chance.below(3) < 3));
    assert_eq!(host.chance.below(0), 0);
});

on_both_hosts!(who_must_not_wait_reads_what_the_page_cache_has, |host, dir| {
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let len = bytes.len() as u64;
    let file = host.disk.open(dir.join("log"), OpenMode::CreateNew).unwrap();
    file.pwrite_all(&bytes, 0).unwrap();
    // What has just been written is there.
    assert!(file.is_warm(0..len));
    let mut read = vec![0; bytes.len()];
    assert_eq!(file.only_warm().pread(&mut read, 0).unwrap(), bytes.len());
    assert!(read == bytes);
    // Beyond the end there is nothing to wait for.
    assert_eq!(file.only_warm().pread(&mut read, len).unwrap(), 0);
    // Whatever the page cache does meanwhile, after this it has been read.
    file.sync_data().unwrap();
    file.forget(0..len);
    file.only_warm().warm_up(0..len + 1).unwrap();
    assert!(file.is_warm(0..len));
    assert_eq!(file.only_warm().pread(&mut read, 0).unwrap(), bytes.len());
    assert!(read == bytes);
});

on_both_hosts!(a_file_says_when_it_was_written, |host, dir| {
    let now_ms = host.clock.now().wall_ms;
    let file = host.disk.open(dir.join("log"), OpenMode::CreateNew).unwrap();
    file.pwrite_all(b"x", 0).unwrap();
    let written_ms = file.modified_ms().unwrap();
    // A kernel's clock for files ticks a few milliseconds behind.
    assert!((now_ms - 100..now_ms + 60_000).contains(&written_ms), "{written_ms}, it is {now_ms}");
    file.pread(&mut [0], 0).unwrap();
    assert_eq!(file.modified_ms().unwrap(), written_ms);
});

/// Says back the five bytes it is told, then sends a file's middle.
async fn echo(listener: Listener, file: File) {
    let (mut socket, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, socket.peer_addr());
    let mut heard = [0; 5];
    socket.read_exact(&mut heard).await.unwrap();
    let mut socket = socket.detach().unwrap().attach().unwrap();
    socket.write_all(&heard).await.unwrap();
    socket.send_file(&file, 10, 190_000).await.unwrap();
    socket.shutdown().await.unwrap();
}

async fn ask(net: Net, address: String) -> Vec<u8> {
    let mut socket = net.connect(address).await.unwrap();
    socket.write_all(b"hello").await.unwrap();
    let mut heard = vec![];
    socket.read_to_end(&mut heard).await.unwrap();
    heard
}

fn file_to_send(disk: &Disk, path: &Path) -> (File, Vec<u8>) {
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.pwrite_all(&bytes, 0).unwrap();
    let expected = [b"hello", &bytes[10..190_010]].concat();
    (file, expected)
}

#[test]
fn a_machine_echoes_and_sends_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::machine().unwrap();
    let (file, expected) = file_to_send(&host.disk, &dir.path().join("log"));
    let heard = LocalSet::new().block_on(&ottla_host::runtime().unwrap(), async {
        let listener = host.net.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::task::spawn_local(echo(listener, file));
        ask(host.net, address).await
    });
    assert!(heard == expected, "{} bytes", heard.len());
}

#[test]
fn a_connection_that_was_reset_before_it_is_accepted_does_not_keep_the_next_one_out() {
    let host = Host::machine().unwrap();
    LocalSet::new().block_on(&ottla_host::runtime().unwrap(), async {
        let listener = host.net.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let reset = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        socket2::SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
        let address = reset.local_addr().unwrap();
        drop(reset);
        let (_, peer) =
            listener.accept().await.expect("it is a connection like any other, and ends at its first read");
        assert_eq!(peer, address);
        let next = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(listener.accept().await.unwrap().1, next.local_addr().unwrap());
    });
}

#[test]
fn a_simulated_host_echoes_and_sends_a_file() {
    let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(60)).rng_seed(7).build();
    let host = Host::simulated(&SimWorld::new(7));
    let (file, expected) = file_to_send(&host.disk, Path::new("/log"));
    let net = host.net;
    sim.host("server", move || {
        let (net, file) = (net, file.clone());
        async move {
            let listener = net.bind("0.0.0.0:9092".parse().unwrap()).await?;
            echo(listener, file).await;
            Ok(())
        }
    });
    sim.client("client", async move {
        let heard = ask(net, "server:9092".to_owned()).await;
        assert!(heard == expected, "{} bytes", heard.len());
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn an_address_that_is_taken_is_named() {
    let host = Host::machine().unwrap();
    ottla_host::runtime().unwrap().block_on(async {
        let listener = host.net.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = listener.local_addr().unwrap();
        let error = host.net.bind(taken).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    });
}

#[test]
fn a_lock_that_stays_held_is_an_error_and_not_a_wait_for_ever() {
    check(|host, dir| {
        Box::pin(async move {
            let (disk, file) = (host.disk, dir.join("lock"));
            let held = disk.lock_within(&file, Duration::ZERO).unwrap();
            let error = disk.lock_within(&file, Duration::from_millis(20)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            drop(held);
            disk.lock_within(&file, Duration::ZERO).unwrap();
        })
    });
}

/// Also on a machine whose `net.ipv6.bindv6only` says otherwise; one without IPv6 has nothing to show here.
#[test]
fn every_address_is_every_address_of_both_kinds() {
    let net = Host::machine().unwrap().net;
    ottla_host::runtime().unwrap().block_on(async {
        let Ok(listener) = net.bind("[::]:0".parse().unwrap()).await else { return };
        let port = listener.local_addr().unwrap().port();
        let older = net.connect(format!("127.0.0.1:{port}")).await.unwrap();
        assert!(older.peer_addr().is_ipv4());
    });
}

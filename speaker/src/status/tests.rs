use super::*;

fn document(node: &str) -> Document {
    Document {
        node: node.to_owned(),
        ..Document::default()
    }
}

/// Runs the test's future with everything enabled.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

/// Answers one client and returns what it was told.
fn answer_once(path: &Path) -> anyhow::Result<Document> {
    block_on(async {
        let mut listener = Listener::bind(path).unwrap();
        let socket = path.to_owned();
        let asking = tokio::task::spawn_blocking(move || ask(&socket, Request::Status));
        let asked = listener.next().await.unwrap();
        assert_eq!(asked.request, Request::Status);
        asked.answer(serde_json::to_vec(&document("n1")).unwrap());
        asking.await.unwrap()
    })
}

#[test]
fn a_client_reads_the_document_until_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/speaker-n1.sock");
    assert_eq!(answer_once(&path).unwrap(), document("n1"));
    assert!(!path.exists(), "the socket goes with its listener");
}

#[test]
fn who_says_nothing_wants_the_status_and_who_says_something_strange_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let demand = Demand {
        per_minute: 7,
        dry_run: true,
    };
    block_on(async {
        let mut listener = Listener::bind(&path).unwrap();
        let mut silent = BlockingStream::connect(&path).unwrap();
        let asked = listener.next().await.unwrap();
        assert_eq!(asked.request, Request::Status);
        asked.answer(b"told".to_vec());
        let mut strange = BlockingStream::connect(&path).unwrap();
        strange.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        let mut demanding = BlockingStream::connect(&path).unwrap();
        let line = serde_json::to_string(&Request::Rebalance(demand)).unwrap();
        demanding.write_all(line.as_bytes()).unwrap();
        demanding.write_all(b"\n").unwrap();
        let asked = listener.next().await.unwrap();
        assert_eq!(asked.request, Request::Rebalance(demand));
        drop(asked);
        let reading = tokio::task::spawn_blocking(move || {
            let mut told = [Vec::new(), Vec::new()];
            silent.read_to_end(&mut told[0]).unwrap();
            // It was closed before all that it sent was read.
            let _ = strange.read_to_end(&mut told[1]);
            told
        });
        assert_eq!(reading.await.unwrap(), [b"told".to_vec(), Vec::new()]);
    });
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    block_on(async {
        let live = Listener::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(live);
        std::fs::write(&path, "precious").unwrap();
        let error = Listener::bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    });
}

#[test]
fn i7_a_stopped_speaker_with_a_full_queue_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let address = SockAddr::unix(&path).unwrap();
    let stopped = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    stopped.bind(&address).unwrap();
    stopped.listen(0).unwrap();
    let waiting: Vec<Socket> = (0..8)
        .map(|_| {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            let _ = client.connect(&address);
            client
        })
        .collect();
    let error = block_on(async { Listener::bind(&path).unwrap_err() });
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(waiting);
}

#[test]
fn i7_clients_that_do_not_read_are_turned_away_and_delay_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.sock");
    let mut large = document("n1");
    large.source.problems = vec!["x".repeat(4 << 20)];
    block_on(async {
        let mut listener = Listener::bind(&path).unwrap();
        let large = serde_json::to_vec(&large).unwrap();
        let clients = (0..CLIENTS + 3).map(|_| BlockingStream::connect(&path).unwrap());
        let silent: Vec<BlockingStream> = clients.collect();
        for _ in 0..CLIENTS {
            listener.next().await.unwrap().answer(large.clone());
        }
        assert_eq!(listener.slots.available_permits(), 0);
        drop(silent);
    });
}

#[test]
fn without_a_socket_given_the_only_one_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let find = || find(&Place::OnlyOne, directory.path());
    let error = find().unwrap_err().to_string();
    assert!(error.contains("no speaker runs"), "{error}");
    std::fs::write(directory.path().join("speaker-n1.sock"), "").unwrap();
    std::fs::write(directory.path().join("unrelated"), "").unwrap();
    assert!(find().unwrap().ends_with("speaker-n1.sock"));
    std::fs::write(directory.path().join("speaker-n2.sock"), "").unwrap();
    let error = find().unwrap_err().to_string();
    assert!(error.contains("--node-name"), "{error}");
}

#[test]
fn where_nobody_answers_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let error = ask::<Document>(&socket, Request::Status).unwrap_err();
    assert!(error.to_string().contains("no speaker answers"), "{error}");
}

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

fn pages() -> Pages {
    Pages {
        metrics: Some(Arc::new(|| "answers 42\n".to_owned())),
        pulse: Some(Pulse::begin()),
    }
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn readiness_and_life_are_two_things_and_what_is_not_offered_is_not_there() {
    let pages = pages();
    let pulse = pages.pulse.clone().unwrap();
    let status = |pages: &Pages, path| respond(pages, &Method::GET, path).status().as_u16();
    assert_eq!(status(&pages, "/healthz"), 200);
    assert_eq!(status(&pages, "/readyz"), 503);
    pulse.set_ready(true);
    assert_eq!(status(&pages, "/readyz"), 200);
    assert_eq!(status(&pages, "/metrics"), 200);
    assert_eq!(status(&pages, "/"), 404);
    assert_eq!(status(&Pages::default(), "/metrics"), 404);
    assert_eq!(status(&Pages::default(), "/healthz"), 404);
    let post = respond(&pages, &Method::POST, "/metrics");
    assert_eq!(post.status().as_u16(), 405);
}

#[test]
fn a_loop_that_has_not_turned_for_long_is_not_alive_until_it_turns_again() {
    let signs = Signs {
        began: Instant::now().checked_sub(3 * Pulse::INTERVAL).unwrap(),
        turned: AtomicU64::new(0),
        is_ready: AtomicBool::new(true),
    };
    let pulse = Pulse(Arc::new(signs));
    assert!(!pulse.is_alive());
    assert!(pulse.is_ready());
    pulse.beat();
    assert!(pulse.is_alive());
}

#[test]
fn an_answer_is_http_and_a_second_client_waits_for_nobody() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server(tokio::spawn(serve(listener, pages())));
        let silent = TcpStream::connect(address).await.unwrap();
        let answer = ask(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nanswers 42\n"), "{answer}");
        assert!(answer.contains(TEXT), "{answer}");
        let long = "x".repeat(2 * LONGEST_REQUEST);
        let answer = ask(address, &format!("GET /{long} HTTP/1.1\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        drop((silent, server));
    });
}

#[test]
fn an_address_that_is_taken_is_waited_for() {
    block_on(async {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let server = Server::start(address, pages());
        sleep(Duration::from_millis(50)).await;
        drop(taken);
        timeout(2 * RETRY, async {
            while TcpStream::connect(address).await.is_err() {
                sleep(Duration::from_millis(50)).await;
            }
        })
        .await
        .unwrap();
        drop(server);
    });
}

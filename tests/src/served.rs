//! What runs on the nodes behind the NodePorts: servers that say who they are.
#![expect(clippy::disallowed_methods, reason = "servers for proofs")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Answers HTTP on each port with `node=NAME port=PORT client=ADDRESS`, for ever.
pub fn http(node: &str, ports: &[u16]) -> Result<()> {
    let node: Arc<str> = node.into();
    for &port in ports {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
            .with_context(|| format!("listening on TCP port {port}"))?;
        let node = Arc::clone(&node);
        thread::spawn(move || accept(&listener, &node, port));
    }
    say_ready();
    park()
}

/// Answers UDP on each port with `NAME ` and what came in, for ever.
pub fn echo(node: &str, ports: &[u16]) -> Result<()> {
    for &port in ports {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))
            .with_context(|| format!("listening on UDP port {port}"))?;
        let name = node.as_bytes().to_vec();
        thread::spawn(move || reply(&socket, &name));
    }
    say_ready();
    park()
}

#[expect(clippy::print_stdout, reason = "tells whoever started it")]
fn say_ready() {
    println!("listening");
}

fn park() -> Result<()> {
    loop {
        thread::park();
    }
}

fn accept(listener: &TcpListener, node: &Arc<str>, port: u16) {
    for stream in listener.incoming().flatten() {
        let node = Arc::clone(node);
        // One that fails concerns only its client.
        thread::spawn(move || answer(stream, &node, port).ok());
    }
}

fn answer(mut stream: TcpStream, node: &str, port: u16) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let client = match stream.peer_addr()? {
        SocketAddr::V6(address) => address.ip().to_canonical(),
        SocketAddr::V4(address) => (*address.ip()).into(),
    };
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let body = format!("node={node} port={port} client={client}\n");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close";
    let length = body.len();
    stream.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())
}

fn reply(socket: &UdpSocket, name: &[u8]) {
    let mut buffer = [0; 512];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let answer = [name, b" ", &buffer[..length]].concat();
        // A client that is gone does not stop the others.
        let _ = socket.send_to(&answer, from);
    }
}

//! Prints the CustomResourceDefinitions of all kinds, or writes each to its file:
//! `crdgen [--dir DIRECTORY]`.
#![expect(
    clippy::disallowed_methods,
    reason = "writes what is committed: a crash leaves nothing that git would not show"
)]

use std::env;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use ferrolb_crds::definition;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => print(),
        ["--dir", directory] => write(Path::new(directory)),
        _ => {
            let _ = writeln!(io::stderr(), "usage: crdgen [--dir DIRECTORY]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "crdgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print() -> io::Result<()> {
    let mut documents = definition::all().into_iter().map(|d| d.to_yaml());
    documents.try_for_each(|document| write!(io::stdout(), "---\n{document}"))
}

fn write(directory: &Path) -> io::Result<()> {
    let mut definitions = definition::all().into_iter();
    definitions.try_for_each(|d| fs::write(directory.join(d.file_name()), d.to_yaml()))
}

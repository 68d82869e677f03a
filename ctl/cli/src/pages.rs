//! What is made of the command line's own description: completions and manual pages.

use std::{fs, io, path::Path};

use clap::CommandFactory;
use weft_ctl_api::client::ClientError;

use crate::{Arguments, commands::Noun, print_line};

/// Section of the manual: administration.
const SECTION: &str = "8";

/// What needs no weftd. None: it does.
pub(crate) fn offline(noun: &Noun) -> Option<Result<(), ClientError>> {
    let mut text = Vec::new();
    match noun {
        Noun::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), "weftctl", &mut text);
        }
        Noun::Man { directory: None } => {
            if let Err(error) = clap_mangen::Man::new(Arguments::command()).section(SECTION).render(&mut text)
            {
                return Some(Err(error.into()));
            }
        }
        Noun::Man { directory: Some(directory) } => return Some(write_pages(directory)),
        _ => return None,
    }
    Some(print_line(&String::from_utf8_lossy(&text)))
}

/// One page a command.
fn write_pages(directory: &Path) -> Result<(), ClientError> {
    let failed = |error: io::Error| {
        ClientError::Own(format!("{}: {error}; name a directory that you may write to", directory.display()))
    };
    fs::create_dir_all(directory).map_err(failed)?;
    let mut command = Arguments::command();
    command.build();
    write_page(&command, directory).map_err(failed)
}

fn write_page(command: &clap::Command, directory: &Path) -> io::Result<()> {
    let man = clap_mangen::Man::new(command.clone()).section(SECTION);
    let mut page = Vec::new();
    man.render(&mut page)?;
    fs::write(directory.join(man.get_filename()), page)?;
    let shown =
        command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set());
    shown.into_iter().try_for_each(|command| write_page(command, directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let directory = std::env::temp_dir().join(format!("weftctl-man-{}", std::process::id()));
        write_pages(&directory).unwrap_or_else(|error| panic!("{error}"));
        for (page, says) in [
            ("weftctl.8", "weftctl\\-doctor(8)"),
            ("weftctl-top.8", "look at first"),
            ("weftctl-fabric-peer-add.8", "Example"),
        ] {
            let text =
                fs::read_to_string(directory.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
            assert!(text.contains(says), "{page}: {text}");
        }
        fs::remove_dir_all(&directory).expect("it was made here");
    }
}

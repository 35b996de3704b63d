use super::*;

fn texts(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") && path.file_name().is_some_and(|name| name != "tests.rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn the_main_page_names_every_variable_that_is_read() {
    let mut sources = Vec::new();
    texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    let mut read = Vec::new();
    for source in &sources {
        for call in ["env::var(\"", "env::var_os(\"", " env = \""] {
            read.extend(source.split(call).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
    assert!(read.len() >= 8, "{read:?}");
    let page = about_command().to_roff().replace('\\', "");
    for name in &read {
        assert!(page.contains(name.as_str()), "{name} is not in the section ENVIRONMENT");
    }
    for (name, _) in ENVIRONMENT {
        assert!(read.iter().any(|one| one == name), "{name} is not read");
    }
}

#[test]
fn every_page_begins_once_and_is_ascii() {
    for (name, text) in pages().unwrap() {
        assert_eq!(text.matches(".TH ").count(), 1, "{name}");
        assert_eq!(text.matches(".ds Aq").count(), 2, "{name}");
        assert!(text.is_ascii(), "{name}");
    }
}

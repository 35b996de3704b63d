//! What the graph must not have: circles, and imports that run upwards.

use super::Crate;

/// Groups of files that import each other, by whatever way round; each in the order of their paths.
pub fn circles(house: &Crate) -> Vec<Vec<&str>> {
    let reach: Vec<Vec<bool>> = (0..house.files.len()).map(|from| reachable(house, from)).collect();
    let mut seen = vec![false; reach.len()];
    let mut circles = Vec::new();
    for at in 0..reach.len() {
        let members: Vec<usize> = (at..reach.len()).filter(|other| reach[at][*other] && reach[*other][at]).collect();
        if seen[at] || members.is_empty() {
            continue;
        }
        members.iter().for_each(|member| seen[*member] = true);
        circles.push(members.iter().map(|member| house.files[*member].path.as_str()).collect());
    }
    circles
}

fn reachable(house: &Crate, from: usize) -> Vec<bool> {
    let mut reached = vec![false; house.files.len()];
    let mut next: Vec<usize> = house.files[from].imports.keys().copied().collect();
    while let Some(at) = next.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            next.extend(house.files[at].imports.keys());
        }
    }
    reached
}

/// Imports from a room by one below it, as `from -> to: names`. `floors` names the rooms from the ground up, several of a floor separated
/// by blanks; a room that is missing there is reported, too.
pub fn upward(house: &Crate, floors: &[&str]) -> Vec<String> {
    let floor = |room: &str| floors.iter().position(|floor| floor.split(' ').any(|name| name == room));
    let mut found = Vec::new();
    for file in &house.files {
        let Some(own) = floor(file.room()) else {
            found.push(format!("{} stands on no floor", file.path));
            continue;
        };
        for (target, names) in &file.imports {
            let target = &house.files[*target];
            let upwards =
                floor(target.room()).is_some_and(|other| other > own || (other == own && target.room() != file.room()));
            if upwards {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                found.push(format!("{} -> {}: {}", file.path, target.path, names.join(", ")));
            }
        }
    }
    found
}

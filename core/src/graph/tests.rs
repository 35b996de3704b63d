use super::*;

fn vertex(id: &str, parents: &[&str], depends_on: &[&str]) -> Vertex {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Vertex { id: id.into(), parents: own(parents), depends_on: own(depends_on), labels: vec![] }
}

#[test]
fn refuses_a_cycle_and_names_its_members() {
    let error = Graph::new(vec![vertex("a", &[], &[]), vertex("b", &["c"], &[]), vertex("c", &["b"], &[])]).unwrap_err();
    assert_eq!(error, Error::Cycle { revisions: vec!["b".into(), "c".into()], relation: "cycle" });
}

#[test]
fn refuses_a_cycle_through_a_dependency() {
    let error = Graph::new(vec![vertex("a", &[], &["b"]), vertex("b", &["a"], &[])]).unwrap_err();
    assert!(matches!(error, Error::Cycle { relation: "dependency cycle", .. }), "{error:?}");
}

#[test]
fn refuses_a_missing_parent_and_a_duplicate() {
    let error = Graph::new(vec![vertex("a", &["zzz"], &[])]).unwrap_err();
    assert_eq!(error.sqlstate(), "42704");
    let error = Graph::new(vec![vertex("a", &[], &[]), vertex("a", &[], &[])]).unwrap_err();
    assert_eq!(error.sqlstate(), "42710");
}

#[test]
fn a_dependency_hides_a_real_head_but_not_a_head() {
    let graph = Graph::new(vec![vertex("a", &[], &[]), vertex("b", &[], &["a"])]).unwrap();
    assert_eq!(graph.heads(), [0, 1]);
    assert_eq!(graph.real_heads(), [1]);
}

//! An init that the kernel killed for want of memory, told apart from one that somebody killed.

use crate::cgroups::{Group, oom};
use crate::error::Error;
use crate::field::Field;

/// Says of an init that died without a word that it was the OOM killer, if its cgroup has counted such a kill. While a
/// container is made nobody else is in there.
pub fn explain(error: Error, group: &Group) -> Error {
    let Error::InitDied { who, stage, index, sentence, .. } = &error else { return error };
    let Some(kill) = oom::probe(group) else { return error };
    let field = Field::at("/linux/resources/memory/limit");
    let hint = match kill.limit {
        Some(limit) => {
            format!("{field} is {limit} bytes, and corten itself needs a few MiB until the program runs")
        }
        None => "the container has no limit of its own: a cgroup above it, or the machine, is out of memory".to_owned(),
    };
    Error::InitDied {
        who,
        // The words of runc, which its users look for.
        how: "was OOM-killed (memory limit too low?)".to_owned(),
        stage: *stage,
        index: *index,
        sentence: sentence.clone(),
        field,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroups::{Place, Version};
    use crate::fault::Stage;

    fn died() -> Error {
        Error::InitDied {
            who: "container init",
            how: "was killed by SIGKILL".into(),
            stage: Stage::StageTwo,
            index: 3,
            sentence: "start a new session".into(),
            field: Field::RUNTIME,
            hint: String::new(),
        }
    }

    #[test]
    fn an_oom_kill_is_told_with_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let place = Place {
            version: Version::V1,
            controllers: vec!["memory".into()],
            mount: root.path().to_owned(),
            path: "web".into(),
            made: 0,
        };
        let dir = place.dir();
        let group = Group { places: vec![place], unit: None };
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("memory.limit_in_bytes"), "262144\n").unwrap();
        std::fs::write(dir.join("memory.oom_control"), "under_oom 0\noom_kill 0\n").unwrap();
        assert!(explain(died(), &group).to_string().contains("was killed by SIGKILL"));
        std::fs::write(dir.join("memory.oom_control"), "under_oom 0\noom_kill 1\n").unwrap();
        let error = explain(died(), &group);
        assert_eq!(
            error.to_string(),
            "container init was OOM-killed (memory limit too low?) at stage_two step 3 (start a new session)"
        );
        let Error::InitDied { field, hint, .. } = error else { panic!("another error") };
        assert_eq!(field.pointer(), "/linux/resources/memory/limit");
        assert!(hint.starts_with("linux.resources.memory.limit is 262144 bytes"), "{hint}");
        assert!(matches!(explain(Error::EmptyId, &group), Error::EmptyId));
    }
}

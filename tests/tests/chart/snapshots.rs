//! Each value set renders to what is kept, with every helm, every time.

use ask2do_token_tests::suite::Suite;

use crate::helm::{chart, helms, value_sets};

const UPDATE: &str = "UPDATE_SNAPSHOTS";

pub(crate) fn cases(suite: &mut Suite) {
    for (name, values) in value_sets() {
        suite.case_where_possible(
            format!("the rendering of {name} is the one that is kept"),
            async move || {
                let kept_at = chart().join("ci/snapshots").join(format!("{name}.yaml"));
                for helm in helms()? {
                    let rendered = helm.template::<&str>(&values, &[]).unwrap();
                    let again = helm.template::<&str>(&values, &[]).unwrap();
                    assert_eq!(rendered, again, "{helm:?} renders {name} anew each time");
                    if std::env::var_os(UPDATE).is_some() {
                        std::fs::create_dir_all(kept_at.parent().unwrap()).unwrap();
                        std::fs::write(&kept_at, &rendered).unwrap();
                    }
                    let kept = std::fs::read_to_string(&kept_at).unwrap_or_default();
                    assert!(
                        kept == rendered,
                        "{helm:?} renders {name} differently (is it meant? {UPDATE}=1): {}",
                        first_difference(&kept, &rendered)
                    );
                }
                Ok(())
            },
        );
    }
}

fn first_difference(kept: &str, rendered: &str) -> String {
    let mut kept = kept.lines();
    for (number, line) in rendered.lines().enumerate() {
        let was = kept.next().unwrap_or("nothing");
        if was != line {
            return format!("line {}: was `{was}`, is `{line}`", number + 1);
        }
    }
    format!("after its end: `{}`", kept.next().unwrap_or_default())
}

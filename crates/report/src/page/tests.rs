use super::*;
use crate::tissue::Tissue;

const HOSTILE: &str =
    "<img src=x onerror=\"document.title='owned'\">\u{2028}</script><script>alert(1)</script>";

fn page(n_genes: usize, n_voxels: usize) -> Page {
    // Values that do not compress, as predictions do not.
    let values = |k: usize| -> Vec<f32> {
        let mut state = k as u32 + 1;
        (0..n_voxels)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 * 1e-4
            })
            .collect()
    };
    let run = RunPage {
        name: HOSTILE.to_owned(),
        warnings: vec![Warning {
            text: HOSTILE.to_owned(),
            remedy: HOSTILE.to_owned(),
        }],
        facts: vec![(HOSTILE.to_owned(), HOSTILE.to_owned())],
        settings: HOSTILE.to_owned(),
        types_of: HOSTILE.to_owned(),
        places: Places::new(
            (0..n_voxels).map(|v| (v % 70) as f64).collect(),
            (0..n_voxels).map(|v| (v / 70) as f64).collect(),
        ),
        voxels: (0..n_voxels).map(|v| format!("{HOSTILE}{v}")).collect(),
        types: vec![TypeRow {
            name: HOSTILE.to_owned(),
            color: Color(1, 2, 3),
            values: values(0),
        }],
        assigned: vec![Some(0); n_voxels],
        genes: vec![GeneRow {
            gene: HOSTILE.to_owned(),
            training: "held_out",
            cosine: 0.5,
            baseline: 0.25,
            pearson: None,
            sparsity: 0.75,
        }],
        values: (0..n_genes)
            .map(|g| GeneValues {
                gene: format!("{HOSTILE}{g}"),
                measured: Some(values(g).iter().map(|v| (v % 5.0).floor()).collect()),
                predicted: values(g),
            })
            .collect(),
        ..RunPage::default()
    };
    Page {
        title: HOSTILE.to_owned(),
        command: HOSTILE.to_owned(),
        version: "0".to_owned(),
        runs: vec![run],
    }
}

#[test]
fn names_are_never_markup() {
    let html = page(3, 9).html();
    assert!(!html.contains("<img src=x"));
    assert!(!html.contains("<script>alert"));
    // Its own data block and two scripts, and nothing that a name has closed or opened.
    assert_eq!(html.matches("</script>").count(), 3);
    assert!(html.contains("&lt;img src=x onerror=&quot;"));
}

#[test]
fn data_come_back_from_the_block() {
    let html = page(2, 9).html();
    let begin = html.find("id=\"run-0\">").unwrap() + "id=\"run-0\">".len();
    let end = begin + html[begin..].find("</script>").unwrap();
    let data: serde_json::Value = serde_json::from_str(&html[begin..end]).unwrap();
    assert_eq!(data["genes"][0]["gene"], HOSTILE);
    assert_eq!(data["values"].as_array().unwrap().len(), 2);
}

#[test]
fn five_thousand_voxels_and_two_hundred_genes_fit() {
    let html = page(200, 5_000).html();
    assert!(html.len() < 15_000_000, "{} bytes", html.len());
    assert!(!html.contains("Not in this report"));
    // With an image of the tissue that does not compress.
    let mut over = page(200, 5_000);
    let noise = (0..3 * 2_000 * 1_500u32).map(|k| (k.wrapping_mul(2_654_435_761) >> 13) as u8);
    let tissue = Tissue::new((2_000, 1_500), noise.collect(), 20.0).unwrap();
    let places = over.runs[0].places.take().unwrap();
    over.runs[0].places = Some(places.over(tissue, 1.0));
    let html = over.html();
    assert!(html.len() < 15_000_000, "{} bytes", html.len());
    assert!(html.contains("\"tissue\":{\"png\"") && !html.contains("Not in this report"));
    let html = page(200, 30_000).html();
    assert!(html.len() < 15_000_000, "{} bytes", html.len());
    assert!(html.contains("Not in this report"));
}

#[test]
fn types_without_room_are_named_as_left_out() {
    let mut many = page(1, 60_000);
    let row = many.runs[0].types[0].clone();
    many.runs[0].types = vec![row; 100];
    many.runs[0].values.clear();
    let html = many.html();
    assert!(html.len() < 15_000_000, "{} bytes", html.len());
    assert!(html.contains("of 100 types, the rarest"));
}

#[test]
fn two_runs_have_a_section_each() {
    let mut both = page(1, 9);
    both.runs.push(both.runs[0].clone());
    let html = both.html();
    assert_eq!(html.matches("<details class=\"run\"").count(), 2);
    assert!(html.contains("id=\"run-0\">") && html.contains("id=\"run-1\">"));
}

#[test]
fn the_script_of_plotly_is_alone() {
    let script = plotly_script();
    assert!(script.contains("plotly.js v3"));
    assert!(!script.contains("MathJax.loader") && !script.contains("<script"));
}

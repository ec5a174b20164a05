//! Laws of the simulated tissue.

use std::collections::HashMap;
use std::ops::Range;
use tangram_core::{Column, SparseRows, Table, Tissue, TissueError, TissueSettings};

fn default_tissue() -> Tissue {
    Tissue::new(TissueSettings::default()).expect("the default is possible")
}

fn numbers(table: &Table, name: &str) -> Vec<f64> {
    match table.column(name) {
        Some(Column::Numeric(values)) => values
            .iter()
            .map(|v| v.expect("no value missing"))
            .collect(),
        other => panic!("{name} is numeric, not {other:?}"),
    }
}

fn labels(table: &Table, name: &str) -> Vec<String> {
    match table.column(name) {
        Some(Column::Categorical {
            codes, categories, ..
        }) => codes
            .iter()
            .map(|code| code.map_or(String::new(), |c| categories[c as usize].clone()))
            .collect(),
        other => panic!("{name} is categorical, not {other:?}"),
    }
}

fn joined(mut first: SparseRows, second: &SparseRows) -> SparseRows {
    first.append(second);
    first
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, n) = values
        .into_iter()
        .fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    sum / n
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a.iter().copied()), mean(b.iter().copied()));
    let product = |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
    };
    product(a, mean_a, b, mean_b)
        / (product(a, mean_a, a, mean_a) * product(b, mean_b, b, mean_b)).sqrt()
}

/// Every table with everything random in it, as one text.
fn fingerprint(tissue: &Tissue) -> [String; 7] {
    let rows = 0..20;
    [
        format!("{:?}", tissue.cells(rows.clone())),
        format!("{:?}", tissue.cells_table(rows.clone())),
        format!("{:?}", tissue.voxels(rows.clone())),
        format!("{:?}", tissue.voxels_table(rows.clone())),
        format!("{:?}", tissue.spots(rows.clone())),
        format!("{:?}", tissue.spots_table(rows.clone())),
        format!("{:?}", tissue.spot_truth(rows)),
    ]
}

#[test]
fn blocks_join_to_the_whole() {
    let tissue = default_tissue();
    let check = |rows_of: &dyn Fn(Range<usize>) -> SparseRows, cut: usize, end: usize| {
        assert_eq!(joined(rows_of(0..cut), &rows_of(cut..end)), rows_of(0..end));
        assert_eq!(rows_of(cut..cut), rows_of(0..end).rows(cut..cut));
    };
    for (cut, end) in [(10, 20), (1, 300), (299, 300)] {
        check(&|r| tissue.cells(r), cut, end);
        check(&|r| tissue.voxels(r), cut, end);
        check(&|r| tissue.spots(r), cut, end);
    }
    let whole = tissue.cells_table(0..50);
    let part = tissue.cells_table(30..50);
    assert_eq!(part.names, whole.names[30..]);
    for name in [
        "depth_um",
        "x_um",
        "y_um",
        "true_voxel",
        "true_spot",
        "library_factor",
    ] {
        assert_eq!(numbers(&part, name), numbers(&whole, name)[30..], "{name}");
    }
    for name in ["cell_type", "layer"] {
        assert_eq!(labels(&part, name), labels(&whole, name)[30..], "{name}");
    }
}

#[test]
fn one_thread_and_three_make_the_same() {
    let with_threads = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(n)
            .build()
            .unwrap();
        pool.install(|| fingerprint(&default_tissue()))
    };
    assert_eq!(with_threads(1), with_threads(3));
}

#[test]
fn the_seed_changes_everything_and_nothing_else_does() {
    let of_seed = |seed| {
        fingerprint(
            &Tissue::new(TissueSettings {
                seed,
                ..Default::default()
            })
            .unwrap(),
        )
    };
    let seeds = [0, 1, 42, u64::MAX].map(of_seed);
    for (i, a) in seeds.iter().enumerate() {
        for b in &seeds[..i] {
            assert!(a.iter().zip(b).all(|(a, b)| a != b));
        }
    }
    assert_eq!(seeds[0], of_seed(0), "0 is a seed, not a wish for chance");

    // More cells, voxels or spots elsewhere leave a cell as it is.
    let larger = TissueSettings {
        n_cells: 9_000,
        n_voxels: 70,
        n_spots: 8,
        ..Default::default()
    };
    let larger = Tissue::new(larger).unwrap();
    assert_eq!(larger.cells(0..40), default_tissue().cells(0..40));
}

#[test]
fn counts_are_as_dense_as_asked() {
    for (density, n_genes, n_panel_genes, seed) in [
        (0.15, 500, 150, 42),
        (0.15, 500, 150, 0),
        (0.05, 2_500, 300, 1),
        (0.5, 300, 60, 2),
    ] {
        let settings = TissueSettings {
            density,
            n_genes,
            n_panel_genes,
            seed,
            ..Default::default()
        };
        let tissue = Tissue::new(settings).unwrap();
        let cells = tissue.cells(0..tissue.settings().n_cells);
        let of_panel = cells.select_columns(tissue.panel()).density();
        for (what, found) in [("all genes", cells.density()), ("the panel", of_panel)] {
            assert!(
                (found - density).abs() < 0.02,
                "{what}: {found}, asked for {density}"
            );
        }
        assert!(
            cells
                .parts()
                .2
                .iter()
                .all(|v| *v >= 1.0 && v.fract() == 0.0),
            "counts"
        );
    }
}

#[test]
fn types_lie_in_their_layers() {
    let tissue = default_tissue();
    let table = tissue.cells_table(0..3_000);
    let (types, layers) = (labels(&table, "cell_type"), labels(&table, "layer"));
    let depths = numbers(&table, "depth_um");
    let of_type =
        |name: &str| -> Vec<usize> { (0..types.len()).filter(|&i| types[i] == name).collect() };

    for name in tissue.cell_types() {
        assert!(!of_type(name).is_empty(), "{name} occurs");
    }
    let layered = [
        "VLMC", "L2/3 IT", "L4/5 IT", "L5 IT", "L5/6 NP", "L6 CT", "L6b",
    ];
    let middles: Vec<f64> = layered
        .iter()
        .map(|t| mean(of_type(t).into_iter().map(|i| depths[i])))
        .collect();
    assert!(
        middles.windows(2).all(|w| w[0] + 15.0 < w[1]),
        "{middles:?}"
    );

    for (name, home) in [
        ("L2/3 IT", "L2/3"),
        ("L5 ET", "L5"),
        ("L6 CT", "L6"),
        ("L6b", "L6b"),
    ] {
        let cells = of_type(name);
        let at_home = cells.iter().filter(|&&i| layers[i] == home).count();
        // Edges are soft: L6b, 50 µm thick, loses the most.
        assert!(
            at_home as f64 > 0.6 * cells.len() as f64,
            "{name}: {at_home} of {}",
            cells.len()
        );
    }
    let layers_in_order = ["L1", "L2/3", "L4", "L5", "L6", "L6b", "WM"];
    let ends: Vec<f64> = layers_in_order
        .iter()
        .map(|l| {
            (0..3_000)
                .filter(|&i| layers[i] == *l)
                .map(|i| depths[i])
                .fold(0.0, f64::max)
        })
        .collect();
    assert!(ends.windows(2).all(|w| w[0] < w[1]), "{ends:?}");
}

#[test]
fn rare_types_lie_in_niches() {
    let tissue = default_tissue();
    let table = tissue.cells_table(0..3_000);
    let types = labels(&table, "cell_type");
    let (x, y) = (numbers(&table, "x_um"), numbers(&table, "y_um"));
    // Median distance from a cell to the nearest other of its type, times √n: the same for all scattered types.
    let crowding = |name: &str| {
        let cells: Vec<usize> = (0..types.len()).filter(|&i| types[i] == name).collect();
        let distance = |i: usize, j: usize| (x[i] - x[j]).hypot(y[i] - y[j]);
        let mut nearest: Vec<f64> = cells
            .iter()
            .map(|&i| {
                let others = cells.iter().filter(|&&j| j != i);
                others
                    .map(|&j| distance(i, j))
                    .fold(f64::INFINITY, f64::min)
            })
            .collect();
        nearest.sort_by(f64::total_cmp);
        (
            cells.len(),
            nearest[nearest.len() / 2] * (cells.len() as f64).sqrt(),
        )
    };
    let (_, scattered) = crowding("Micro");
    for name in ["CR", "Sst Chodl", "Meis2", "PVM"] {
        let (n, crowded) = crowding(name);
        assert!((5..150).contains(&n), "{name} is rare: {n}");
        assert!(
            crowded < 0.4 * scattered,
            "{name}: {crowded} against {scattered}"
        );
    }
}

#[test]
fn cells_voxels_and_spots_are_of_one_tissue() {
    let tissue = Tissue::new(TissueSettings {
        n_cells: 20_000,
        n_voxels: 20_000,
        n_spots: 4_000,
        ..Default::default()
    })
    .unwrap();
    let shares = |table: &Table| {
        let types = labels(table, "cell_type");
        let mut shares = HashMap::new();
        for t in &types {
            *shares.entry(t.clone()).or_insert(0.0) += 1.0 / types.len() as f64;
        }
        shares
    };
    let cells = shares(&tissue.cells_table(0..20_000));
    let voxels = shares(&tissue.voxels_table(0..20_000));
    let spots = tissue
        .spot_truth(0..4_000)
        .mean_axis(ndarray::Axis(0))
        .unwrap();
    for (t, name) in tissue.cell_types().iter().enumerate() {
        let (a, b, c) = (cells[name], voxels[name], spots[t]);
        // Five standard errors of a share among 20,000; spots leave gaps and edges out, so they get more.
        let allowed = 5.0 * (2.0 * a / 20_000.0).sqrt();
        assert!((a - b).abs() < allowed, "{name}: cells {a}, voxels {b}");
        assert!(
            (a - c).abs() < allowed + 0.35 * a,
            "{name}: cells {a}, spots {c}"
        );
    }

    // The same types are measured in both: the mean profile of a type's voxels is its cells' but for the probes.
    let panel = tissue.cells(0..6_000).select_columns(tissue.panel());
    let profile = |counts: &SparseRows, table: &Table, name: &str| {
        let types = labels(table, "cell_type");
        let rows: Vec<usize> = (0..counts.n_rows()).filter(|&i| types[i] == name).collect();
        let means = counts.select_rows(&rows).column_sums();
        means
            .iter()
            .map(|s| (s / rows.len() as f64 + 0.01).ln())
            .collect::<Vec<f64>>()
    };
    let (cells, voxels) = (tissue.cells_table(0..6_000), tissue.voxels_table(0..6_000));
    let images = tissue.voxels(0..6_000);
    for name in ["L2/3 IT", "Pvalb", "Oligo"] {
        let same = correlation(
            &profile(&panel, &cells, name),
            &profile(&images, &voxels, name),
        );
        let other = correlation(
            &profile(&panel, &cells, name),
            &profile(&images, &voxels, "Endo"),
        );
        assert!(
            same > 0.8 && same > other + 0.1,
            "{name}: {same}, against Endo {other}"
        );
    }
}

#[test]
fn markers_are_high_in_their_type() {
    let tissue = default_tissue();
    let genes = tissue.genes_table();
    let (kinds, owners) = (labels(&genes, "kind"), labels(&genes, "cell_type"));
    let types = labels(&tissue.cells_table(0..3_000), "cell_type");
    let counts = tissue.cells(0..3_000).transpose();
    let mut n_markers = HashMap::new();
    for g in (0..kinds.len()).filter(|&g| kinds[g] == "marker") {
        *n_markers.entry(owners[g].clone()).or_insert(0) += 1;
        let (cells, values) = counts.row(g);
        let (mut inside, mut outside) = (0.0, 0.0);
        for (&i, &v) in cells.iter().zip(values) {
            let own = types[i as usize] == owners[g];
            *(if own { &mut inside } else { &mut outside }) += f64::from(v);
        }
        let n_own = types.iter().filter(|t| **t == owners[g]).count() as f64;
        let fold = (inside / n_own) / (outside / (3_000.0 - n_own)).max(1e-3);
        assert!(
            fold > 5.0,
            "{}: {fold} times as high in {}",
            genes.names[g],
            owners[g]
        );
    }
    for name in tissue.cell_types() {
        assert!(n_markers[name] >= 2, "{name}");
    }
    let panel = tissue.panel_table();
    assert_eq!(panel.len(), 150);
    assert!(panel.names.windows(2).all(|w| w[0] < w[1]));
    assert!(
        panel
            .names
            .iter()
            .zip(tissue.panel())
            .all(|(n, &g)| *n == tissue.genes()[g])
    );
}

#[test]
fn gradient_genes_tell_the_depth_inside_a_type() {
    let tissue = default_tissue();
    let table = tissue.cells_table(0..3_000);
    let (types, depths) = (labels(&table, "cell_type"), numbers(&table, "depth_um"));
    let counts = tissue.cells(0..3_000).to_dense();
    for name in ["L2/3 IT", "L4/5 IT", "L6 CT"] {
        let genes = tissue.genes_table();
        let (kinds, owners) = (labels(&genes, "kind"), labels(&genes, "cell_type"));
        let graded: Vec<usize> = (0..kinds.len())
            .filter(|&g| kinds[g] == "gradient" && owners[g] == name)
            .collect();
        let cells: Vec<usize> = (0..3_000).filter(|&i| types[i] == name).collect();
        let depth: Vec<f64> = cells.iter().map(|&i| depths[i]).collect();
        // Genes ending in an odd number rise, the others fall.
        let signed = |i: usize| -> f64 {
            graded
                .iter()
                .map(|&g| {
                    let rises = genes.names[g].ends_with(['1', '3', '5', '7', '9']);
                    let level = f64::from(counts[[i, g]]).ln_1p();
                    if rises { level } else { -level }
                })
                .sum()
        };
        let score: Vec<f64> = cells.iter().map(|&i| signed(i)).collect();
        let found = correlation(&score, &depth);
        assert!(found > 0.5, "{name}: {found}");
    }
}

#[test]
fn spots_are_the_sums_of_their_cells() {
    let tissue = default_tissue();
    let (spots, truth) = (tissue.spots(0..300).to_dense(), tissue.spot_truth(0..300));
    let n_cells = numbers(&tissue.spots_table(0..300), "n_cells");
    for spot in 0..300 {
        let cells = tissue.spot_cells(spot);
        assert_eq!(cells.n_rows() as f64, n_cells[spot]);
        assert!((1..=12).contains(&cells.n_rows()));
        let sums: Vec<f64> = spots.row(spot).iter().map(|v| f64::from(*v)).collect();
        assert_eq!(cells.column_sums(), sums);

        let types = labels(&tissue.spot_cells_table(spot), "cell_type");
        for (t, name) in tissue.cell_types().iter().enumerate() {
            let n = types.iter().filter(|found| *found == name).count() as f64;
            assert!((truth[[spot, t]] * n_cells[spot] - n).abs() < 1e-9);
        }
        assert!((truth.row(spot).sum() - 1.0).abs() < 1e-12);
    }
    assert!(mean(n_cells.iter().copied()) > 4.0 && n_cells.iter().any(|n| *n <= 2.0));
}

#[test]
fn cells_know_their_nearest_voxel_and_spot() {
    let tissue = default_tissue();
    let table = tissue.cells_table(0..500);
    let (x, y) = (numbers(&table, "x_um"), numbers(&table, "y_um"));
    for (name, places) in [
        ("true_voxel", tissue.voxels_spatial(0..1_500)),
        ("true_spot", tissue.spots_spatial(0..300)),
    ] {
        for (i, index) in numbers(&table, name).into_iter().enumerate() {
            let to = |p: usize| (places[[p, 0]] - x[i]).hypot(places[[p, 1]] - y[i]);
            let least = (0..places.nrows()).map(to).fold(f64::INFINITY, f64::min);
            assert!(to(index as usize) <= least + 1e-9, "{name} of cell {i}");
        }
    }
    let voxels = tissue.voxels_table(0..1_500);
    assert_eq!(
        numbers(&voxels, "x_um"),
        tissue.voxels_spatial(0..1_500).column(0).to_vec()
    );
}

#[test]
fn library_sizes_vary() {
    let tissue = default_tissue();
    let factors = numbers(&tissue.cells_table(0..3_000), "library_factor");
    let logs: Vec<f64> = factors.iter().map(|f| f.ln()).collect();
    let middle = mean(logs.iter().copied());
    let spread = mean(logs.iter().map(|l| (l - middle).powi(2))).sqrt();
    assert!((mean(factors.iter().copied()) - 1.0).abs() < 0.03);
    assert!((spread - 0.35).abs() < 0.02, "{spread}");
    let totals: Vec<f64> = tissue
        .cells(0..3_000)
        .row_sums()
        .iter()
        .map(|s| s.ln_1p())
        .collect();
    assert!(correlation(&logs, &totals) > 0.7);
}

#[test]
fn impossible_settings_are_refused_with_what_is_wrong() {
    let check = |settings: TissueSettings, words: &[&str]| {
        let said = Tissue::new(settings).map(|_| ()).unwrap_err().to_string();
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
    };
    let base = TissueSettings::default;
    check(
        TissueSettings {
            n_cells: 0,
            ..base()
        },
        &["n_cells", "at least 1"],
    );
    check(
        TissueSettings {
            n_voxels: 0,
            ..base()
        },
        &["n_voxels"],
    );
    check(
        TissueSettings {
            n_spots: 0,
            ..base()
        },
        &["n_spots"],
    );
    check(
        TissueSettings {
            n_genes: 0,
            n_panel_genes: 0,
            ..base()
        },
        &["n_genes"],
    );
    check(
        TissueSettings {
            n_genes: usize::MAX,
            ..base()
        },
        &["n_genes", "at most"],
    );
    check(
        TissueSettings {
            n_panel_genes: 501,
            ..base()
        },
        &["501", "500"],
    );
    check(
        TissueSettings {
            n_panel_genes: 21,
            ..base()
        },
        &["21", "22"],
    );
    for density in [0.0, 1.0, -0.1, f64::NAN] {
        check(TissueSettings { density, ..base() }, &["density", "0.01"]);
    }
    assert_eq!(
        Tissue::new(TissueSettings {
            n_panel_genes: 3,
            ..base()
        })
        .map(|_| ())
        .unwrap_err(),
        TissueError::PanelTooSmall {
            n_panel_genes: 3,
            needed: 22
        }
    );
    let smallest = TissueSettings {
        n_cells: 1,
        n_voxels: 1,
        n_spots: 1,
        n_genes: 22,
        n_panel_genes: 22,
        ..base()
    };
    let smallest = Tissue::new(smallest).unwrap();
    assert_eq!(smallest.cells(0..1).n_cols(), 22);
    assert_eq!(numbers(&smallest.cells_table(0..1), "true_voxel"), [0.0]);
}

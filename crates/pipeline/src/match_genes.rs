//! Which genes of two files are the same: by name, without case, by identifier, by a column of `var`, or by a table.

use crate::error::{PipelineError, Result};
use crate::gene_list;
use crate::listener::Listener;
use crate::names_differ::NamesDiffer;
use crate::wording::{count, thousands};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;
use tangram_core::matching::{Pairs, caseless, identifier, paired};
use tangram_core::names::examples;
use tangram_store::ExpressionFile;

/// How genes are matched: written `exact`, `case`, `id`, `column:NAME` or `table:FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchGenes {
    /// Names must be the same.
    Exact,
    /// Upper and lower case are the same.
    Case,
    /// By Ensembl identifier without its version, from the names or from a column of `var` that holds it.
    Id,
    /// By this column of `var`, in the files that have it; by name in others.
    Column(String),
    /// By a table of two columns: a name, and the name that it stands for.
    Table(PathBuf),
}

impl Display for MatchGenes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => f.write_str("exact"),
            Self::Case => f.write_str("case"),
            Self::Id => f.write_str("id"),
            Self::Column(name) => write!(f, "column:{name}"),
            Self::Table(path) => write!(f, "table:{}", path.display()),
        }
    }
}

impl FromStr for MatchGenes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "exact" => Ok(Self::Exact),
            None if text == "case" => Ok(Self::Case),
            None if text == "id" => Ok(Self::Id),
            Some(("column", name)) if !name.is_empty() => Ok(Self::Column(name.to_owned())),
            Some(("table", path)) if !path.is_empty() => Ok(Self::Table(path.into())),
            _ => Err("write exact, case, id, column:NAME or table:FILE".to_owned()),
        }
    }
}

impl MatchGenes {
    /// The same with the path of a table absolute, so that it is found from any folder.
    #[must_use]
    pub fn absolute(self) -> Self {
        match self {
            Self::Table(path) => Self::Table(std::path::absolute(&path).unwrap_or(path)),
            other => other,
        }
    }

    /// What it does, for a message.
    fn in_words(&self) -> Cow<'static, str> {
        match self {
            Self::Exact => "by their exact names".into(),
            Self::Case => "if upper and lower case are the same".into(),
            Self::Id => "by Ensembl identifier without its version".into(),
            Self::Column(name) => format!("by the column `{name}` of var").into(),
            Self::Table(path) => format!("by the table {}", path.display()).into(),
        }
    }
}

/// Columns of `var` that hold identifiers, as scanpy, 10x, cellxgene and Seurat's converters name them.
const ID_COLUMNS: [&str; 6] = [
    "gene_ids",
    "gene_id",
    "ensembl_id",
    "ensembl",
    "feature_id",
    "ensembl_ids",
];
/// Columns of `var` that hold symbols.
const SYMBOL_COLUMNS: [&str; 9] = [
    "gene_symbols",
    "gene_symbol",
    "symbol",
    "symbols",
    "gene_name",
    "gene_names",
    "feature_name",
    "gene_short_name",
    "SYMBOL",
];

/// Share of the genes of the smaller file that another way of matching must add before the program stops.
const MANY: f64 = 0.1;

/// The genes of one side: a file, or the genes that a mapping was trained on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GenesOf<'a> {
    /// Whose they are: `cells`, `voxels`, `training`.
    pub(crate) what: &'static str,
    pub(crate) names: &'a [String],
    pub(crate) file: Option<&'a ExpressionFile>,
}

impl<'a> GenesOf<'a> {
    pub(crate) fn file(what: &'static str, file: &'a ExpressionFile) -> Self {
        Self {
            what,
            names: file.genes(),
            file: Some(file),
        }
    }

    fn column(&self, name: &str) -> Result<Option<Vec<String>>> {
        match self.file {
            Some(file) => Ok(file.gene_column(name)?),
            None => Ok(None),
        }
    }

    /// The first of these columns that there is.
    fn first_of(&self, columns: &[&'static str]) -> Result<Option<(&'static str, Vec<String>)>> {
        for &name in columns {
            if let Some(texts) = self.column(name)? {
                return Ok(Some((name, texts)));
            }
        }
        Ok(None)
    }

    fn keys(&self, how: &MatchGenes) -> Result<Vec<Option<String>>> {
        let names = || self.names.iter();
        Ok(match how {
            MatchGenes::Exact => vec![None; self.names.len()],
            MatchGenes::Case => names().map(|name| caseless(name)).collect(),
            MatchGenes::Id => match self.first_of(&ID_COLUMNS)? {
                Some((_, ids)) => names()
                    .zip(&ids)
                    .map(|(name, id)| identifier(id).or_else(|| identifier(name)))
                    .collect(),
                None => names().map(|name| identifier(name)).collect(),
            },
            MatchGenes::Column(column) => match self.column(column)? {
                Some(texts) => texts.into_iter().map(Some).collect(),
                None => names().cloned().map(Some).collect(),
            },
            MatchGenes::Table(path) => {
                let table = gene_list::read_table(path)?;
                let stands_for = |name: &String| table.get(name).unwrap_or(name).clone();
                names().map(|name| Some(stands_for(name))).collect()
            }
        })
    }
}

/// The genes of two sides, matched.
#[derive(Debug, Clone)]
pub(crate) struct Matched {
    /// How they were matched.
    how: MatchGenes,
    pairs: Pairs,
    /// Numbers of genes of the two sides.
    n_genes: (usize, usize),
    /// Another way that would add some genes, but too few to stop for, and how many.
    other: Option<(MatchGenes, usize)>,
    whose: (&'static str, &'static str),
}

/// Matches the genes of `second` with those of `first`.
///
/// * `how`: as the user says; `None`: by exact names, unless another way would add many genes
///
/// # Errors
/// [`PipelineError::GeneNames`] if the user is to decide; if a file or the table cannot be read.
pub(crate) fn matched(
    first: GenesOf<'_>,
    second: GenesOf<'_>,
    how: Option<&MatchGenes>,
) -> Result<Matched> {
    let by = |how: &MatchGenes| -> Result<Pairs> {
        let keys = (first.keys(how)?, second.keys(how)?);
        Ok(paired((first.names, &keys.0), (second.names, &keys.1)))
    };
    let of = |how: MatchGenes, pairs, other| Matched {
        how,
        pairs,
        n_genes: (first.names.len(), second.names.len()),
        other,
        whose: (first.what, second.what),
    };
    if let Some(how) = how {
        if let MatchGenes::Column(column) = how
            && first.column(column)?.is_none()
            && second.column(column)?.is_none()
        {
            return Err(PipelineError::Usage(format!(
                "--match-genes column:{column}: var of neither the {} nor the {} has this column; \
                 `tangram inspect` lists the columns",
                first.what, second.what
            )));
        }
        return Ok(of(how.clone(), by(how)?, None));
    }
    let exact = by(&MatchGenes::Exact)?;
    let smaller = first.names.len().min(second.names.len());
    if exact.len() == smaller {
        return Ok(of(MatchGenes::Exact, exact, None));
    }
    let mut ways = vec![MatchGenes::Case, MatchGenes::Id];
    for side in [first, second] {
        for columns in [&SYMBOL_COLUMNS[..], &ID_COLUMNS[..]] {
            let column = side.first_of(columns)?;
            ways.extend(column.map(|(name, _)| MatchGenes::Column(name.to_owned())));
        }
    }
    let mut best: Option<(MatchGenes, usize)> = None;
    for way in ways {
        let added = by(&way)?.len() - exact.len();
        if added > best.as_ref().map_or(0, |(_, n)| *n) {
            best = Some((way, added));
        }
    }
    match best {
        Some((way, added)) if added as f64 >= MANY * smaller as f64 => {
            Err(PipelineError::GeneNames(Box::new(NamesDiffer {
                n_shared: exact.len(),
                first: format!("{} of the {}", thousands(first.names.len()), first.what),
                second: format!("{} of the {}", thousands(second.names.len()), second.what),
                better: exact.len() + added,
                words: way.in_words().into_owned(),
                flag: way.to_string(),
                examples: differing(&by(&way)?, first.names, second.names),
            })))
        }
        other => Ok(of(MatchGenes::Exact, exact, other)),
    }
}

/// Examples of genes that one way of matching pairs and their names do not.
fn differing(pairs: &Pairs, first: &[String], second: &[String]) -> String {
    let pairs = pairs.of_second.iter().zip(second);
    let differ = pairs.filter_map(|(i, name)| i.map(|i| (&first[i], name)));
    let differ = differ.filter(|(one, other)| one != other);
    let shown: Vec<String> = differ
        .take(3)
        .map(|(one, other)| format!("`{one}` and `{other}`"))
        .collect();
    shown.join(", ")
}

impl Matched {
    /// The names of the second side, those that are matched as the first side has them.
    pub(crate) fn names(&self, first: &[String], second: &[String]) -> Vec<String> {
        let name = |(i, own): (&Option<usize>, &String)| match i {
            Some(i) => first[*i].clone(),
            None => own.clone(),
        };
        self.pairs.of_second.iter().zip(second).map(name).collect()
    }

    /// What the names of a list are in the first side, where the list has those of the second.
    pub(crate) fn translated(
        &self,
        list: Vec<String>,
        first: &[String],
        second: &[String],
    ) -> Vec<String> {
        if self.how == MatchGenes::Exact {
            return list;
        }
        let known: std::collections::HashSet<&str> = first.iter().map(String::as_str).collect();
        let pairs = self.pairs.of_second.iter().zip(second);
        let alias: HashMap<&str, &str> = pairs
            .filter_map(|(i, name)| i.map(|i| (name.as_str(), first[i].as_str())))
            .collect();
        let name = |name: String| match alias.get(name.as_str()) {
            Some(other) if !known.contains(name.as_str()) => (*other).to_owned(),
            _ => name,
        };
        list.into_iter().map(name).collect()
    }

    /// Number of genes that both sides have.
    pub(crate) fn n_shared(&self) -> usize {
        self.pairs.len()
    }

    /// Says how many genes are shared.
    pub(crate) fn tell(&self, listener: &dyn Listener) -> Result<()> {
        let how = match &self.how {
            MatchGenes::Exact => String::new(),
            other => format!(", {}", other.in_words()),
        };
        listener.say(format_args!(
            "{} shared, of {} of the {} and {} of the {}{how}",
            count(self.n_shared(), "gene"),
            thousands(self.n_genes.0),
            self.whose.0,
            thousands(self.n_genes.1),
            self.whose.1,
        ))?;
        if let Some((way, added)) = &self.other {
            listener.say(format_args!(
                "{} more would be shared {} (--match-genes {way})",
                count(*added, "gene"),
                way.in_words(),
            ))?;
        }
        if !self.pairs.ambiguous.is_empty() {
            listener.warn(format_args!(
                "{} not matched, since a file has several genes of the same name then: {}",
                count(self.pairs.ambiguous.len(), "gene"),
                examples(self.pairs.ambiguous.iter().map(String::as_str)),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::full_text;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn side<'a>(what: &'static str, names: &'a [String]) -> GenesOf<'a> {
        GenesOf {
            what,
            names,
            file: None,
        }
    }

    #[test]
    fn another_way_that_adds_many_genes_is_for_the_user_to_decide() {
        let (cells, voxels) = (names("Sst Gad1 Aqp4 Rorb"), names("SST GAD1 Aqp4"));
        let sides = (side("cells", &cells), side("voxels", &voxels));
        let refused = matched(sides.0, sides.1, None).unwrap_err();
        let text = full_text(&refused);
        for part in [
            "share 1 gene by",
            "3 if upper and lower case are the same",
            "`Sst` and `SST`",
            "--match-genes case",
            "--match-genes exact",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let told = matched(sides.0, sides.1, Some(&MatchGenes::Exact)).unwrap();
        assert_eq!(told.n_shared(), 1);
        let case = matched(sides.0, sides.1, Some(&MatchGenes::Case)).unwrap();
        assert_eq!(case.names(&cells, &voxels), names("Sst Gad1 Aqp4"));
        assert_eq!(
            case.translated(names("GAD1 Rorb other"), &cells, &voxels),
            names("Gad1 Rorb other")
        );
    }

    #[test]
    fn a_few_genes_more_are_only_told() {
        let cells: Vec<String> = (0..40).map(|i| format!("g{i}")).collect();
        let mut voxels = cells.clone();
        voxels[0] = "G0".to_owned();
        let found = matched(side("cells", &cells), side("voxels", &voxels), None).unwrap();
        assert_eq!(found.n_shared(), 39);
        assert_eq!(found.other, Some((MatchGenes::Case, 1)));
    }

    #[test]
    fn ways_read_back_as_written() {
        for text in ["exact", "case", "id", "column:symbol", "table:/a/b:c.tsv"] {
            assert_eq!(text.parse::<MatchGenes>().unwrap().to_string(), text);
        }
        for text in ["", "Case", "column:", "table"] {
            assert!(text.parse::<MatchGenes>().is_err(), "{text}");
        }
    }
}

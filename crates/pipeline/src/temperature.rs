//! The choice of a temperature by held-out genes.

use crate::choices::Temperature;
use crate::error::{Result, Within};
use crate::inputs::Inputs;
use crate::listener::Listener;
use crate::ranks::{Ranks, on_first};
use crate::settings::MapSettings;
use tangram_mapper::{Engine, Problem, TemperatureScore, best_temperature, score_temperatures};
use tangram_store::CellExpression;

/// The temperature of a mapping, chosen by held-out genes where the settings say so, and what each candidate was worth.
///
/// # Errors
/// If the cells cannot be read, or memory will not suffice for all voxels and genes.
pub(crate) fn choose(
    settings: &MapSettings,
    engine: Engine,
    inputs: &Inputs,
    ranks: &Ranks,
    listener: &dyn Listener,
) -> Result<(Option<Temperature>, Vec<TemperatureScore>)> {
    if settings.temperature != Some(Temperature::Auto) {
        return Ok((settings.temperature, Vec::new()));
    }
    listener.say(format_args!(
        "choosing the temperature by held-out training genes"
    ))?;
    let mirror = settings.mirror(engine, settings.temperature);
    let score = |problem: &Problem<CellExpression>| {
        score_temperatures(problem, &mirror).of_both(&settings.cells, &settings.voxels)
    };
    let mut scores = Vec::new();
    // The first rank takes few cells, but all voxels and genes: what one rank alone would choose.
    let kappa = on_first(ranks, || {
        scores = match ranks.shape().n_ranks() {
            1 => score(&inputs.problem),
            _ => score(&inputs.whole(ranks, settings)?),
        }?;
        Ok(best_temperature(&scores))
    })?;
    let chosen = kappa.map_or(Temperature::Off, Temperature::Kappa);
    for score in &scores {
        let temperature = score
            .temperature
            .map_or(Temperature::Off, Temperature::Kappa);
        listener.explain(format_args!(
            "temperature {temperature}: mean cosine of held-out training genes {:.4}",
            score.held_out
        ))?;
    }
    listener.say(format_args!("temperature {chosen}"))?;
    Ok((Some(chosen), scores))
}

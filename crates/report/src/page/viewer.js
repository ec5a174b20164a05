// The moving part of the report. Every name goes into the page by textContent, or through plain() into plotly, which reads some tags.
'use strict';
(() => {
  // Marks above which they are drawn by WebGL, if the browser has it.
  const MANY = 4000;
  // Rows of a table that are shown at first.
  const ROWS = 100;

  const make = (parent, tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    if (parent) parent.appendChild(element);
    return element;
  };
  const plain = text => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  const short = value => {
    if (value === null || value === undefined || Number.isNaN(value)) return '–';
    if (value === 0) return '0';
    const size = Math.abs(value);
    return size < 1e-4 || size >= 1e7 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
  };
  const hasWebgl = (() => {
    try { return !!document.createElement('canvas').getContext('webgl'); } catch { return false; }
  })();

  // What pack.rs writes: base64 of zlib.
  const bytesOf = async text => {
    const packed = Uint8Array.from(atob(text), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate'));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const numbersOf = async text => {
    const bytes = await bytesOf(text);
    const n = bytes.length / 3;
    const bits = new Uint32Array(n);
    for (let i = 0; i < n; i++) bits[i] = (bytes[i] << 24 | bytes[n + i] << 16 | bytes[2 * n + i] << 8) >>> 0;
    return new Float32Array(bits.buffer);
  };
  const textsOf = async text => JSON.parse(new TextDecoder().decode(await bytesOf(text)));

  const extremes = values => {
    let [low, high] = [Infinity, -Infinity];
    for (const v of values) {
      if (!Number.isFinite(v)) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
    return low > high ? [0, 0] : [low, high];
  };

  // --- colours -------------------------------------------------------------------------------------------

  // Each colour is red, green, blue and opacity of up to 255. WebGL takes them so. Colours as text would be parsed again for every voxel,
  // a second for 100,000.
  const GREY = Uint8Array.of(170, 170, 170, 255);
  const rgbOf = hex => Uint8Array.of(...[1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16)), 255);
  const cssOf = ([r, g, b]) => `rgb(${r},${g},${b})`;
  // Viridis at equal steps, and all of its shades.
  const VIRIDIS = ['#440154', '#482878', '#3e4989', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725'].map(rgbOf);
  const SHADES = Array.from({ length: 256 }, (_, k) => {
    const at = k / 255 * (VIRIDIS.length - 1);
    const below = VIRIDIS[Math.floor(at)], above = VIRIDIS[Math.ceil(at)];
    return below.map((v, c) => Math.round(v + (above[c] - v) * (at % 1)));
  });
  const SCALE = VIRIDIS.map((color, k) => [k / (VIRIDIS.length - 1), cssOf(color)]);
  // The colour of each value, from the least to the greatest.
  const shadesOf = values => {
    const [low, high] = extremes(values);
    const scale = high > low ? 255 / (high - low) : 0;
    return Array.from(values, v => Number.isFinite(v) ? SHADES[Math.round((v - low) * scale)] : GREY);
  };

  // --- maps ----------------------------------------------------------------------------------------------

  class Map2d {
    constructor(parent, site, others) {
      this.box = make(parent, 'div', 'map');
      this.title = make(this.box, 'h3');
      this.note = make(this.box, 'p', 'note');
      this.plot = make(this.box, 'div', 'plot');
      this.legend = make(this.box, 'div', 'legend');
      this.site = site;
      this.others = others;
      others.push(this);
      // A plot follows the size of its box; it would follow that of the window only.
      new ResizeObserver(() => {
        const { width, height } = this.plot._fullLayout || {};
        const { clientWidth, clientHeight } = this.plot;
        const grown = Math.abs(width - clientWidth) > 1 || Math.abs(height - clientHeight) > 1;
        if (this.drawn && grown) Plotly.Plots.resize(this.plot);
      }).observe(this.plot);
    }

    // Each voxel has a value, or with `colors` a colour of its own.
    async show(title, note, values, colors, hover) {
      this.title.textContent = title;
      this.note.textContent = note;
      this.legend.replaceChildren();
      const { site } = this;
      const first = !this.drawn;
      if (first) {
        // Two marks with the bar of all: what this leaves for the axes tells the size of a mark, so that all marks are drawn once.
        await this.draw('scatter', 2, values, [GREY, GREY], []);
        this.drawn = true;
      }
      // What WebGL draws lies below images.
      const type = site.x.length > MANY && hasWebgl && !site.tissue ? 'scattergl' : 'scatter';
      await this.draw(type, site.x.length, values, colors || shadesOf(values), hover || site.labels);
      if (first) this.plot.on('plotly_relayout', () => this.moved());
    }

    // The first `n` voxels.
    async draw(type, n, values, colors, hover) {
      const { site } = this;
      const marker = {
        size: this.size(), symbol: site.symbol, line: { width: 0 }, opacity: site.opacity,
        color: type === 'scattergl' ? colors : colors.map(cssOf),
      };
      const voxels = {
        type, mode: 'markers', x: site.x.subarray(0, n), y: site.y.subarray(0, n), marker, text: hover, customdata: values,
        hovertemplate: values ? '%{text}<br>%{customdata:.4~g}<extra></extra>' : '%{text}<extra></extra>',
        hoverlabel: { bgcolor: '#333' },
      };
      // A trace without marks has the bar of colours.
      const bar = values && {
        type: 'scatter', mode: 'markers', x: [null], y: [null], hoverinfo: 'skip',
        marker: {
          color: [0], cmin: extremes(values)[0], cmax: extremes(values)[1], colorscale: SCALE, showscale: true,
          colorbar: { thickness: 12, len: 0.9, tickfont: { size: 11 }, tickformat: '.3~g' },
        },
      };
      // A double click shows what is seen at first: everything. After that the map is where it was, or where the others are.
      const seen = this.drawn && (this.others.find(map => map !== this && map.drawn) || this);
      const { x: xRange, y: yRange } = seen ? seen.ranges() : site.ranges;
      const layout = {
        margin: { l: 4, r: 4, t: 4, b: 4 }, hovermode: 'closest', showlegend: false,
        dragmode: window.innerWidth < 700 ? false : 'pan', paper_bgcolor: '#fff', plot_bgcolor: '#fff',
        xaxis: { visible: false, range: xRange }, yaxis: { visible: false, range: yRange, scaleanchor: 'x' },
        images: site.tissue ? [site.tissue] : [],
      };
      const config = {
        scrollZoom: window.innerWidth >= 700, displaylogo: false, responsive: true,
        modeBarButtonsToRemove: ['select2d', 'lasso2d', 'autoScale2d'],
      };
      await Plotly.react(this.plot, values ? [voxels, bar] : [voxels], layout, config);
    }

    ranges() {
      const { xaxis, yaxis } = this.plot._fullLayout;
      return { x: [...xaxis.range], y: [...yaxis.range] };
    }

    // Pixels of a mark: as large as a voxel at the present zoom.
    size() {
      const axis = this.drawn && this.plot._fullLayout.xaxis;
      const scale = axis ? axis._length / Math.abs(axis.range[1] - axis.range[0])
        : 300 / Math.abs(this.site.ranges.x[1] - this.site.ranges.x[0]);
      return Math.min(60, Math.max(1.5, 2 * this.site.radius * scale));
    }

    // After a zoom: marks of the new size, and the same view in the other maps.
    async moved() {
      if (this.busy) return;
      for (const map of this.others) {
        if (!map.drawn || map.busy) continue;
        map.busy = true;
        try {
          if (map !== this) {
            const { x, y } = this.ranges();
            await Plotly.relayout(map.plot, { 'xaxis.range': x, 'yaxis.range': y });
          }
          const size = map.size();
          if (Math.abs(size - map.plot.data[0].marker.size) > 0.01 * size) {
            await Plotly.restyle(map.plot, { 'marker.size': size });
          }
        } finally { map.busy = false; }
      }
    }
  }

  // An input that finds names by their parts. `chosen` is called with the index of the name.
  const chooser = (parent, id, label, names, chosen) => {
    const box = make(parent, 'label', '', label);
    const input = make(box, 'input');
    input.setAttribute('list', id + '-names');
    input.autocomplete = 'off';
    input.dataset.chooser = label;
    const list = make(box, 'datalist');
    list.id = id + '-names';
    for (const name of names) make(list, 'option').value = name;
    const at = new Map(names.map((name, i) => [name, i]));
    let now = null;
    const look = () => {
      const found = at.get(input.value);
      input.classList.toggle('problem', found === undefined && input.value !== '' && document.activeElement !== input);
      if (found !== undefined && found !== now) { now = found; chosen(found); }
    };
    input.addEventListener('input', look);
    input.addEventListener('change', () => {
      const part = input.value.toLowerCase();
      if (!at.has(input.value) && part !== '') {
        const found = names.find(name => name.toLowerCase().includes(part));
        if (found !== undefined) input.value = found;
      }
      look();
    });
    // The list shows all names only while nothing is typed.
    input.addEventListener('focus', () => { input.value = ''; });
    input.addEventListener('blur', () => {
      if (input.value === '' && now !== null) input.value = names[now];
      input.classList.toggle('problem', input.value !== '' && !at.has(input.value));
    });
    const choose = i => { now = i; input.value = names[i]; chosen(i); };
    return { choose, has: name => at.has(name), chooseName: name => choose(at.get(name)) };
  };

  // --- tables --------------------------------------------------------------------------------------------

  // columns: { name, of: row => value, button: row => action or null }
  const table = (parent, title, rows, columns, order) => {
    make(parent, 'h3', '', title);
    const tools = make(parent, 'div', 'table-tools');
    const filter = make(tools, 'input');
    filter.placeholder = 'search';
    filter.setAttribute('aria-label', 'search in ' + title);
    const count = make(tools, 'span', 'hint');
    const all = make(make(parent, 'div', 'scroll'), 'table');
    const head = make(make(all, 'thead'), 'tr');
    const body = make(all, 'tbody');
    const more = make(make(parent, 'div', 'table-tools'), 'button', '', 'show all rows');
    let by = order.by, down = order.down, shown = ROWS;
    const draw = () => {
      const part = filter.value.toLowerCase();
      const wanted = rows.filter(row => String(columns[0].of(row)).toLowerCase().includes(part));
      const key = columns[by].of;
      wanted.sort((a, b) => {
        const [p, q] = [key(a), key(b)];
        if (p === null || q === null) return (p === null) - (q === null);
        const order = typeof p === 'number' ? p - q : p < q ? -1 : p > q ? 1 : 0;
        return down ? -order : order;
      });
      [...head.children].forEach((cell, i) => {
        cell.setAttribute('aria-sort', i !== by ? 'none' : down ? 'descending' : 'ascending');
      });
      body.replaceChildren();
      for (const row of wanted.slice(0, shown)) {
        const line = make(body, 'tr');
        for (const column of columns) {
          const value = column.of(row);
          const text = typeof value === 'number' || value === null ? short(value) : value;
          const action = column.button && column.button(row);
          if (action) make(make(line, 'td'), 'button', '', text).addEventListener('click', action);
          else make(line, 'td', '', text);
        }
      }
      count.textContent = `${Math.min(shown, wanted.length)} of ${rows.length} rows`;
      more.hidden = shown >= wanted.length;
    };
    columns.forEach((column, i) => {
      const button = make(make(head, 'th'), 'button', '', column.name);
      button.addEventListener('click', () => {
        if (by === i) down = !down;
        else { by = i; down = rows.length > 0 && typeof column.of(rows[0]) === 'number'; }
        draw();
      });
    });
    filter.addEventListener('input', draw);
    more.addEventListener('click', () => { shown = Infinity; draw(); });
    draw();
  };

  // --- a run ---------------------------------------------------------------------------------------------

  // The image of the tissue, paler, as plotly takes it.
  const tissueOf = ({ tissue }) => tissue && {
    source: 'data:image/png;base64,' + tissue.png, xref: 'x', yref: 'y', x: 0, y: 0, sizex: tissue.width, sizey: tissue.height,
    xanchor: 'left', yanchor: 'top', sizing: 'stretch', layer: 'below', opacity: 0.6,
  };

  const maps = async (root, run, id) => {
    const { places } = run;
    const [x, y, names, assigned] = await Promise.all(
      [numbersOf(places.x), numbersOf(places.y), textsOf(run.voxels), numbersOf(run.assigned)]);
    const far = (values, from) => {
      let most = 0;
      for (const v of values) if (v > most) most = v;
      return [from - places.radius * 1.5, from + most + places.radius * 1.5];
    };
    const xs = Float64Array.from(x, v => v + places.left), ys = Float64Array.from(y, v => v + places.bottom);
    const yRange = far(y, places.bottom);
    const site = {
      x: xs, y: ys, opacity: 1, tissue: tissueOf(places), radius: places.radius, symbol: places.hexagons ? 'hexagon' : 'circle', labels: names.map(plain),
      ranges: { x: far(x, places.left), y: places.down ? yRange.reverse() : yRange },
    };
    const bar = make(root, 'div', 'choosers');
    const grid = make(root, 'div', 'maps');
    make(root, 'p', 'hint', 'Scroll to zoom, drag to move, double-click to see all; the maps move together. Each map has its own scale.');
    const together = [];
    const cached = new Map();
    const numbers = text => {
      if (!cached.has(text)) {
        if (cached.size > 60) cached.clear();
        cached.set(text, numbersOf(text));
      }
      return cached.get(text);
    };
    const pick = {};
    if (site.tissue) {
      const slider = make(make(bar, 'label', '', 'opacity of the voxels'), 'input');
      Object.assign(slider, { type: 'range', min: 0, max: 1, step: 0.05, value: 1 });
      slider.dataset.chooser = 'opacity';
      slider.addEventListener('change', () => {
        site.opacity = Number(slider.value);
        for (const map of together.filter(m => m.drawn)) Plotly.restyle(map.plot, { 'marker.opacity': site.opacity });
      });
    }

    const views = [];
    if (run.types.length) {
      views.push({
        name: 'most probable type', show: async map => {
          const codes = Array.from(assigned);
          const type = code => code < 0 ? null : run.types[code];
          const ofTypes = run.types.map(type => rgbOf(type.color));
          const colors = codes.map(code => type(code) ? ofTypes[code] : GREY);
          const hover = codes.map((code, i) => `${site.labels[i]}<br>${type(code) ? plain(type(code).name) : 'no cell'}`);
          await map.show('most probable type', 'the type of the most probable cell of each voxel', null, colors, hover);
          for (const type of run.types.filter(t => t.voxels > 0)) {
            const entry = make(map.legend, 'span');
            make(entry, 'i').style.background = type.color;
            entry.append(`${type.name} (${type.voxels})`);
          }
        },
      });
      for (const type of run.types.filter(t => t.values)) {
        views.push({
          name: type.name,
          show: async map => map.show(type.name, `expected cells of this type, ${short(type.total)} in all`, await numbers(type.values)),
        });
      }
    }
    for (const other of run.others) {
      views.push({ name: other.name, show: async map => map.show(other.name, '', await numbers(other.values)) });
    }
    // All boxes before the first plot: each gets its final width.
    const map = views.length ? new Map2d(grid, site, together) : null;
    const [measured, predicted] = run.values.length ? [0, 1].map(() => new Map2d(grid, site, together)) : [];
    if (map) {
      // Two types may have the name of another view: the first wins in the list, all are in the table.
      const types = chooser(bar, id + '-types', 'type', views.map(v => v.name), i => views[i].show(map));
      pick.type = name => types.chooseName(name);
      types.choose(0);
    }
    if (run.values.length) {
      const rows = new Map(run.genes.map(row => [row.gene, row]));
      const genes = chooser(bar, id + '-genes', 'gene', run.values.map(v => v.name), async i => {
        const value = run.values[i], row = rows.get(value.name);
        const note = row ? `${row.training.replace('_', ' ')}; score ${short(row.cosine)}, voxel totals alone ${short(row.baseline)}` : 'not measured in the voxels';
        await predicted.show(`${value.name}, predicted`, note, await numbers(value.values));
        measured.box.hidden = !value.measured;
        if (value.measured) {
          await measured.show(`${value.name}, measured`, row ? `no count in ${short(100 * row.sparsity)} % of voxels` : '', await numbers(value.measured));
        }
      });
      pick.gene = name => genes.has(name) ? () => { genes.chooseName(name); bar.scrollIntoView({ behavior: 'smooth' }); } : null;
      const held = run.genes.filter(row => genes.has(row.gene));
      const rank = row => (row.training === 'trained' ? -1 : 1) + row.cosine / 10;
      const best = held.reduce((a, b) => (a === null || rank(b) > rank(a) ? b : a), null);
      genes.choose(best ? run.values.findIndex(v => v.name === best.gene) : 0);
    }
    return pick;
  };

  const begin = async section => {
    if (section.dataset.begun) return;
    section.dataset.begun = 'yes';
    const run = JSON.parse(document.getElementById('run-' + section.dataset.run).textContent);
    const viewer = section.querySelector('.viewer'), tables = section.querySelector('.tables');
    let pick = {};
    if (typeof DecompressionStream === 'undefined') {
      make(viewer, 'p', 'warnings', 'This browser is too old for the maps: use one of 2023 or later. Figures and tables are below.');
    } else if (run.places) {
      pick = await maps(viewer, run, 'run-' + section.dataset.run);
    } else {
      make(viewer, 'p', 'hint', 'The voxels have no coordinates (obsm/spatial): there are no maps.');
    }
    if (run.genes.length) {
      table(tables, 'Genes', run.genes, [
        { name: 'gene', of: row => row.gene, button: row => pick.gene && pick.gene(row.gene) },
        { name: 'part in training', of: row => row.training.replace('_', ' ') },
        { name: 'score (cosine)', of: row => row.cosine },
        { name: 'totals alone', of: row => row.baseline },
        { name: 'Pearson', of: row => row.pearson },
        { name: 'no count in', of: row => row.sparsity },
      ], { by: 2, down: true });
    }
    if (run.types.length) {
      table(tables, 'Types', run.types, [
        { name: run.types_of, of: row => row.name, button: row => pick.type && row.values ? () => pick.type(row.name) : null },
        { name: 'expected cells', of: row => row.total },
        { name: 'voxels where most probable', of: row => row.voxels },
      ], { by: 1, down: true });
    }
    section.dataset.ready = 'yes';
  };

  const fail = error => {
    const box = make(null, 'p', 'warnings', 'The interactive part could not be shown: ' + error);
    document.querySelector('main').prepend(box);
    console.error(error);
  };
  for (const section of document.querySelectorAll('.run')) {
    const look = () => { if (section.tagName !== 'DETAILS' || section.open) begin(section).catch(fail); };
    section.addEventListener('toggle', look);
    look();
  }
  const comparison = document.querySelector('.runs-table');
  if (comparison) {
    const runs = [...document.querySelectorAll('script[type="application/json"]')].map(block => JSON.parse(block.textContent));
    const mean = (run, trained) => {
      const of = run.genes.filter(row => (row.training === 'trained') === trained).map(row => row.cosine);
      return of.length ? of.reduce((a, b) => a + b, 0) / of.length : null;
    };
    const number = (run, trained) => run.genes.filter(row => (row.training === 'trained') === trained).length;
    table(comparison, 'Runs', runs, [
      { name: 'run', of: run => run.name },
      { name: 'voxels', of: run => run.n_voxels },
      { name: 'training genes', of: run => number(run, true) },
      { name: 'their mean score', of: run => mean(run, true) },
      { name: 'other genes', of: run => number(run, false) },
      { name: 'their mean score', of: run => mean(run, false) },
    ], { by: 0, down: false });
  }
})();

"""The napari plugin: dock widgets, readers and sample data over the library's public functions.

The only part of the package that imports napari and Qt. Nothing is imported here, so that napari
can read the manifest at no cost. The modules, by what they are for:

- the parts of all widgets: `workspace` (what one viewer's widgets share), `jobs` (work in a
  thread), `panel`, `sites_step`, `forms`, `columns`, `figure_view`, `picture`, `legend`,
  `layer_kinds`, `words`, `loading`, `way`, `flying`;
- Detect: `detect_widget`, `detection`, `preview`, `some_frames`, `scaling`, `frame_quality`,
  `editing`; its other pages `walls_page`, `wall_work`, `motion_work` and `grid_page`;
- Train: `train_widget`, `training`, `loss_plot`, `checking`, `check_list`;
- Latents: `latents_widget`, `colouring`, `drawing`, `dense_work`, `manifold`, `exporting`,
  `taking_away`;
- Units: `units_widget`, `unit_work`, `unit_state`, `unit_list`, `unit_painting`, `unit_examples`;
- Pathways: `pathways_widget`, `pathway_work`, `pathway_state`, `pathway_pages`, `event_list`;
- below the canvas: `plot_widget`, `plot_canvas`, `plot_frame`, `plot_legend`, `class_list`,
  `place_panel`; `inspect_widget`; `time_widget`;
- napari itself: `commands` and `layout` (menus, where docks lie), `reader`, `samples`, `settings`,
  `start`, `closing`, `bar_names`, `window` (all of napari's private names).
"""

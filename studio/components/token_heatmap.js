// The heatmaps by themselves: drawn from the component's value.

setUpHeatmaps();
watch("value", () => showComparison(parsed(props.value)));
showComparison(parsed(props.value));

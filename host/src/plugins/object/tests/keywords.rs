use super::*;

#[test]
fn a_keyword_is_known_and_stands_where_it_means_something() {
    let verdicts = (VERDICTS, VERDICTS_MANIFEST);
    let (config, state) = ("/config/properties", "/state/properties");
    let at = |part: &str, rest: &str| format!("{part}/{rest}");
    check(
        verdicts,
        &at(config, "slot/x-globl"),
        json!("slot"),
        "`slot` of the configuration has the keyword `x-globl`, which means nothing: correct or remove it; known: x-alias",
    );
    check(
        verdicts,
        &at(config, "slot/x-index"),
        json!(0),
        "`slot` of the configuration has `x-index`, which means nothing there: remove it, as it is for a leaf of the state",
    );
    check(
        verdicts,
        &at(state, "lengths/items/properties/packets/x-global"),
        json!("slot"),
        "`lengths/packets` of the state has `x-global`, which means nothing there: remove it, as it is for a leaf of the configuration",
    );
    check(
        verdicts,
        &at(state, "lengths/x-index"),
        json!(0),
        "`lengths` of the state has `x-index`, which means nothing",
    );
    check(
        verdicts,
        &at(state, "lengths/x-list-key"),
        json!("hundred"),
        "`x-list-key` of `lengths` of the state names `hundred`, which is not a member of its entries; known: hundreds, packets",
    );
    check(
        verdicts,
        &at(state, "packets/x-unit"),
        json!("parsecs"),
        "`x-unit` of `packets` of the state is not `bytes`, `KiB`",
    );
    for metric in
        [json!("packets_total"), json!({ "name": "a b", "type": "gauge" }), json!({ "name": "a", "type": "x" })]
    {
        check(
            verdicts,
            &at(state, "packets/x-metric"),
            metric,
            "`x-metric` of `packets` of the state is not `{\"name\"",
        );
    }
    check(
        verdicts,
        &at(config, "other"),
        json!({ "$ref": "#" }),
        "`other` of the configuration has `$ref`, which a manifest",
    );
    for schema in [json!({ "properties": {} }), json!({ "type": "array" })] {
        let expected = "the configuration is not an object: give it `\"type\": \"object\"`";
        check(verdicts, "/config", schema, expected);
    }
}

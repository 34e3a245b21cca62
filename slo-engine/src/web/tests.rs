use super::*;
use crate::keeper::Notice;

#[test]
fn text_from_the_wire_is_escaped() {
    let now = Timestamp::from_seconds(1_000);
    let mut view = View::empty(now);
    let text = "<script>alert('x')</script>\"&".to_owned();
    view.notices.push(Notice { at: now, text, rolled_back: true });
    let drawn = page(&view, &DeliveryFigures::default(), now).into_string();
    assert!(!drawn.contains("<script"), "{drawn}");
    assert!(drawn.contains("&lt;script&gt;alert"));
}

#[test]
fn a_page_without_data_says_so_and_how_to_be_told() {
    let now = Timestamp::from_seconds(1_000);
    let drawn = page(&View::empty(now), &DeliveryFigures::default(), now).into_string();
    assert!(drawn.contains("Waiting for data"));
    assert!(drawn.contains("--webhook URL"));
}

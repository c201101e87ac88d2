//! The process is killed while a call is on its way, before and after the call has had its effect:
//! another process brings the order to its end, and money and stock are right.

use std::thread;

use example_testing::await_some;

use crate::{
    fault::{Call, Fault},
    shop::{Shop, await_end, await_order, place, two_pens},
};

/// Kills the process in the middle of a call; gives how the order ended.
fn crash(name: &str, call: Call, fault: Fault, before: &[(Call, Fault)]) -> String {
    let shop = Shop::new(name);
    before.iter().for_each(|(call, fault)| shop.others.fail(*call, &[*fault]));
    shop.others.fail(call, &[fault]);
    let first = shop.open();
    let address = first.address.clone();
    let customer = thread::spawn(move || {
        let body = two_pens("card_ok");
        let connection = std::net::TcpStream::connect(&address).unwrap();
        let head = "POST /api/orders HTTP/1.0\r\nContent-Type: application/json";
        let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        std::io::Write::write_all(&mut &connection, request.as_bytes()).unwrap();
        connection
    });
    assert_eq!(shop.others.await_held(), call);
    first.kill();
    drop(customer.join().unwrap());
    let order = await_end(&shop.open());
    shop.assert_right(&order);
    order["status"].as_str().unwrap().to_owned()
}

/// One test for each call and moment.
macro_rules! killed {
    ($($name:ident: $call:ident $fault:ident, $before:expr => $status:expr;)*) => {
        $(
            #[test]
            fn $name() {
                assert_eq!(crash(stringify!($name), Call::$call, Fault::$fault, $before), $status);
            }
        )*
    };
}

/// What makes an order fail once it is paid.
const SOLD_OUT: &[(Call, Fault)] = &[(Call::Reserve, Fault::Answer(409, "insufficient_stock"))];

killed! {
    killed_before_the_check: Check HeldBefore, &[] => "completed";
    killed_before_the_charge: Charge HeldBefore, &[] => "completed";
    killed_after_the_charge: Charge HeldAfter, &[] => "completed";
    killed_before_the_reservation: Reserve HeldBefore, &[] => "completed";
    killed_after_the_reservation: Reserve HeldAfter, &[] => "completed";
    killed_before_the_commit: Commit HeldBefore, &[] => "completed";
    killed_after_the_commit: Commit HeldAfter, &[] => "completed";
    killed_before_the_release: Release HeldBefore, SOLD_OUT => "rejected";
    killed_after_the_release: Release HeldAfter, SOLD_OUT => "rejected";
    killed_before_the_refund: Refund HeldBefore, SOLD_OUT => "rejected";
    killed_after_the_refund: Refund HeldAfter, SOLD_OUT => "rejected";
}

#[test]
fn a_process_that_is_asked_to_end_leaves_its_orders_to_the_next_at_once() {
    // The request and the drain are over before the call is, and nobody would wait for the lease.
    let shop = Shop { call_timeout: "5s", lease: "1h", ..Shop::new("asked_to_end") };
    shop.others.fail(Call::Charge, &[Fault::HeldAfter]);
    let first = shop.open();
    let answer = place(&first, &two_pens("card_ok"));
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(first.terminate());
    let second = shop.open();
    let order =
        await_order(&second, answer.json()["id"].as_str().unwrap(), |order| order["status"] == "completed");
    shop.assert_right(&order);
}

#[test]
fn two_processes_drive_every_order_once() {
    let shop = Shop::new("two_processes");
    let pods = [shop.open(), shop.open()];
    let calls = [Call::Check, Call::Charge, Call::Reserve, Call::Commit, Call::Release, Call::Refund];
    for call in calls {
        // One after the other, for whichever order comes: lost, refused by overload, never answered.
        let faults = [Fault::AnswerLost, Fault::Answer(503, ""), Fault::HeldBefore, Fault::HeldAfter];
        shop.others.fail(call, &faults.repeat(3));
    }
    shop.others.fail(Call::Reserve, &[Fault::Answer(409, "insufficient_stock"); 5]);
    thread::scope(|scope| {
        for pod in &pods {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let answer = place(pod, &two_pens("card_ok"));
                        assert!([201, 202, 409].contains(&answer.status), "{answer:?}");
                    }
                });
            }
        }
    });
    let orders = await_some("the end of all orders", || {
        let pending = pods[0].get("/api/orders?status=pending").json();
        let all = pods[1].get("/api/orders?limit=200").json();
        pending["items"].as_array().unwrap().is_empty().then_some(all)
    });
    let orders = orders["items"].as_array().unwrap();
    assert_eq!(orders.len(), 40);
    orders.iter().for_each(|order| shop.assert_right(order));
    let completed = orders.iter().filter(|order| order["status"] == "completed").count();
    assert_eq!(shop.others.ledger(|ledger| ledger.stock["pen"]), 100 - 2 * completed as i64);
    assert_eq!(completed, 35);
}

{# Plain JavaScript. Words come from data- attributes. Comments vanish when rendered, and so does what a page does not need. #}
{% set timed = not bare or until %}
(()=>{
const D=document,H=D.documentElement,$=(s,r=D)=>r.querySelector(s),{% if timed %}$$=(s,r=D)=>r.querySelectorAll(s),{% endif %}
w=k=>D.body.dataset[k],rnd=n=>Math.random()*n,
bit=(k,v)=>{try{return v===void 0?sessionStorage.getItem('backsoon-'+k):sessionStorage.setItem('backsoon-'+k,v)}catch{}},
mark=$('#now'),btn=$('#pause'),say=$('#say'),icon=$('link[rel=icon]'),
{# the status page of a path speaks of that path #}
st=H.dataset.status,here=location.pathname,own=here.startsWith(st+'/')?here.slice(st.length):here==st?'/':here,
me=Math.random();
let es,poller,wait,leave,elect,seen,lost,lead,{% if not bare %}turns=0,{% endif %}paused=bit('paused')==1,ch,sign='';
const
put=(e,s)=>{if(e.textContent!=s)e.textContent=s},
{% if timed %}
{# skew to the server's clock once known; until then the visitor's clock counts, unless the page was made later #}
sync=t=>{if(t)skew=t-Date.now()},
fill=(p,o)=>p.replace(/\{(\w+)\}/g,(_,k)=>o[k]),
num=s=>(''+s).replace(/\d/g,c=>w('digits')[c]),
clock=t=>{const d=new Date(t),o={hour:'2-digit',minute:'2-digit',hourCycle:'h23'};
if(d.toDateString()!=new Date(Date.now()+skew).toDateString())o.day='numeric',o.month='short';
try{return num(d.toLocaleString((H.lang=='en'?'en-GB':H.lang)+'-u-nu-latn',o))}catch{return num(d.toLocaleString([],o))}},
local=t=>new Date(t).getTimezoneOffset()?fill(w('local'),{clock:clock(t)}):clock(t)+' UTC',
when=k=>fill(w(k),{clock:local(at)}),
{# same wording as the server: whole minutes, then hours, then days #}
span=m=>{const h=m/60|0,d=h/24|0,x=m<1?'z':h<1?'m':d<1?(m%60?'h':'h0'):h%24?'d':'d0';return fill(w('s'+x),{m:num(d<1?m%60:m),h:num(d<1?h:h%24),d:num(d)})},
about=s=>fill(w('about'),{span:span(Math.ceil(s))}),
{% endif %}
title=()=>{
{% if timed %}
const e=$('[data-k=in]'),s=e?(Date.parse(e.dataset.t)-Date.now()-skew)/6e4:0,t=sign+(s>0&&!sign?fill(w('in'),{span:about(s)})+' · ':'')+w('title');
{% else %}
const t=sign+w('title');
{% endif %}
if(D.title!=t)D.title=t},
{% if timed %}
{# relative words and the visitor's own time, on the page or on a fetched copy before it is merged #}
tick=r=>{const n=Date.now()+skew;
for(const e of $$('[data-k]',r)){const s=(Date.parse(e.dataset.t)-n)/6e4,k=e.dataset.k;
if(k=='since')put(e,span(Math.max(0,Math.floor(-s))));
else if(k=='bar')e.value=-s*60;
else if(k=='due'){if(s<=0)put(e,e.dataset.late)}
else put(e,s<=0?e.dataset.late:k=='left'?span(Math.ceil(s)):k=='in'?fill(w('in'),{span:about(s)}):about(s))}
for(const e of $$('[data-l]',r)){const{l,m,p}=e.dataset,c=clock(l)+(m?' – '+clock(m):'');
if(!p&&!e.title)e.title=e.textContent;
put(e,p?fill(p,{clock:c}):new Date(l).getTimezoneOffset()?fill(w('local'),{clock:c}):c+' UTC')}
if(!r)title()},
{% endif %}
show=(is,t)=>{mark.dataset.is=is;put($('.w',mark),w(is));{% if timed %}if(t)put($('#fresh'),t);{% endif %}sign=is=='off'?'⚠ ':'';title()},
good=()=>{seen=Date.now();lost=0;{% if timed %}at=seen+skew;{% endif %}if(!paused&&!leave)show('live'{% if timed %},when('fresh'){% endif %})},
bad=()=>{if(paused||leave)return;const t={% if timed %}when('stale'){% else %}w('off'){% endif %};show('off',t);if(!lost)lost=1,tell(t)},
{% if not bare %}
{# merge b into a: only what differs is touched, so focus, scroll, selection and what is folded stay #}
merge=(a,b)=>{
if(a.nodeName!=b.nodeName)return a.replaceWith(b);
if(a.nodeType!=1){if(a.data!=b.data)a.data=b.data;return}
if(a.dataset.keep!=null)return;
for(const{name:n}of[...a.attributes])n=='open'||b.hasAttribute(n)||a.removeAttribute(n);
for(const{name:n,value:v}of b.attributes)a.getAttribute(n)!=v&&a.setAttribute(n,v);
let x=a.firstChild,n;
for(const y of[...b.childNodes]){
const k=y.id&&[...a.children].find(e=>e.id==y.id);
{# nodes before k were removed, unless the order has changed #}
if(k&&x&&x.compareDocumentPosition(k)&4)for(;x!=k;x=n){n=x.nextSibling;x.remove()}
if(k&&x!=k){a.insertBefore(k,x);merge(k,y);continue}
if(k||!y.id&&x&&!x.id){n=x.nextSibling;merge(x,y);x=n}else a.insertBefore(y,x)}
for(;x;x=n){n=x.nextSibling;x.remove()}},
{% endif %}
tell=t=>say.textContent=t,
{# load the page again by GET, since a reload would send a form again. Replacing a URL with a `#` by itself only scrolls, so change the URL first #}
go=k=>{bit(k,Date.now());const l=location.href;let u=l.split('#')[0];
if(u!=l)try{history.replaceState(null,'',u+(u.includes('?')?'&':'?'));u=l}catch{}
location.replace(u)},
lately=k=>Date.now()-bit(k)<6e4,
ask=a=>fetch(st+own,{headers:{Accept:a},cache:'no-store'}),
{# what differs in the inline style and script cannot be swapped in place, since the policy forbids it; once a minute, since replicas may differ for a while #}
swap=()=>{if(!lately('swap'))return go('swap');clearTimeout(wait);wait=setTimeout(pull,6e4)},
{% if bare %}
load=swap,
{% else %}
load=async()=>{
const r=await ask('text/html');
if(!(r.headers.get('content-type')||'').startsWith('text/html')){const j=await r.json();return j.phase=='open'?back(j.spread):0}
const n=new DOMParser().parseFromString(await r.text(),'text/html'),h=n.documentElement;
if(paused)return;
if(!h.dataset.version)throw 0;
sync(Date.parse(r.headers.get('date')));
{% if phase != "open" %}
if(h.dataset.phase=='open')return brief();
{% endif %}
good();
if(h.dataset.version==H.dataset.version)return;
{# a new page comes in one language first; others may follow in a moment #}
if(h.lang!=H.lang&&turns++<9){clearTimeout(wait);wait=setTimeout(pull,500+rnd(1e3));return}
turns=0;
for(const s of['style','script'])if($(s,n).textContent!=$(s).textContent)return swap();
tick(n);
const o=$('main').dataset.step;
for(const{name:k,value:v}of h.attributes)H.setAttribute(k,v);
icon.href=$('link[rel=icon]',n).href;merge(D.body,n.body);dress();title();
const s=$('main').dataset.step;if(s&&s!=o)tell(s)},
{% endif %}
{# a short question, answered by JSON, or by the page where a route has one dialect; more only if something has changed #}
brief=async()=>{const t=await(await ask('application/json')).text(),v=/version"?[:=]"(\w+)"/.exec(t);
if(/phase"?[:=]"open"/.test(t))return {% if phase != "open" %}back((/spread":(\d+)/.exec(t)||[])[1]){% elif bare %}good(){% else %}load(){% endif %};
{% if bare %}
if(!v||v[1]==H.dataset.version)good();else load()},
pull=()=>brief().catch(bad),
{% else %}
if(v&&v[1]==H.dataset.version)good();else await load()},
pull=()=>load().catch(bad),
{% endif %}
poll=()=>{clearTimeout(poller);poller=setTimeout(async()=>{await brief().catch(bad);if(poller&&!paused&&!leave)poll()},3e4+rnd(15e3))},
stop=()=>{if(es)es.close(),post('bye');es=lead=0;for(const t of[poller,wait,elect])clearTimeout(t);poller=wait=elect=0},
{# open again: say so, then reload at a random moment of the seconds that the server says, 5 or more; never in a tight loop #}
back=s=>{if(leave||paused||H.dataset.phase=='open')return 0;stop();
const d=Math.min(rnd((s||5)*1e3)+(lately('left')?3e4:0),12e4),t=w(d>1e4?'backSoon':'back');tell(t);show('live',t);sign='✓ '+w('returned')+' · ';title();
icon.href=icon.href.replace(/d='[^']*'/,"d='M1 4l2 2 4-4v2L3 8 1 6z'");
leave=setTimeout(()=>go('left'),d);return 1},
page=v=>{good();clearTimeout(wait);if(v!=H.dataset.version)wait=setTimeout(pull,rnd(2e3))},
{# one stream for all tabs of a host, since a browser has six connections to it over HTTP/1.1: the tab in front holds it, and tells the others #}
post=(k,v)=>ch&&ch.postMessage({k,v,own,me}),
hear=({data:{k,v,own:o,me:id}})=>{if(paused||leave)return;
if(k=='who'){if(es)post('me')}
else if(k=='bye'){if(lead){lead=0;run()}}
else{if(es){if(id<me)return post('me');stop()}
lead=Date.now();clearTimeout(elect);if(o!=own&&!poller)poll();
if(o==own){if(k=='page')page(v);else if(k=='open')back(v);else{ {% if timed %}if(v)sync(v);{% endif %}good()}}
else if(k=='page'||k=='open'){clearTimeout(wait);wait=setTimeout(pull,rnd(2e3))}}},
{# who sees the page may hold the stream, if nobody else does; the stream of an open route ends at once, so its page asks instead #}
run=()=>{if(paused||leave)return;{% if phase == "open" %}return poll();{% endif %}if(D.hidden){if(es)stop();poll();return}
clearTimeout(elect);post('who');elect=setTimeout(open,ch?200+rnd(200):0)},
open=()=>{stop();if(paused||leave||D.hidden)return;seen=Date.now();post('me');
es=new EventSource(H.dataset.events+own);
es.onerror=()=>{bad();if(es&&es.readyState==2){stop();poll()}};
es.addEventListener('beat',()=>{good();post('beat')});
{% if timed %}
es.addEventListener('clock',e=>{sync(JSON.parse(e.data).now);tick();post('beat',Date.now()+skew)});
{% endif %}
es.addEventListener('open',e=>{if(e.data){const s=JSON.parse(e.data).spread;post('open',s);back(s)}});
es.addEventListener('page',e=>{const v=JSON.parse(e.data).version;post('page',v);page(v)})},
set=p=>{paused=p;bit('paused',p?1:0);put(btn,w(p?'resume':'pause'));
if(p){stop();clearTimeout(leave);leave=0;show('paused'{% if timed %},when('fresh'){% endif %})}else{show('live');pull();run()}},
{# what depends on where the page is shown #}
dress=()=>{const h=$('#host'),c=$('#code'),a=$('#again');if(h&&!h.textContent)put(h,location.hostname);
if(own!=here){if(c)c.remove();if(a)a.href=own}};
try{ch=new BroadcastChannel('backsoon');ch.onmessage=hear}catch{}
{% if timed %}
let skew=Math.max(0,Date.parse(H.dataset.now)-Date.now()),at=Date.now()+skew;tick();
{% endif %}
dress();
{% if not bare %}
if(innerWidth>700&&$('#well'))$('#well').open=true;
{% endif %}
btn.hidden=false;btn.onclick=()=>set(!paused);
setInterval(()=>{if(paused||leave)return;{% if timed %}tick();{% endif %}if(!D.hidden&&Date.now()-(lead||seen)>4e4){if(lead)lead=0,run();else if(es)bad()}},1e4);
D.addEventListener('visibilitychange',()=>{if(paused||leave)return;{% if timed %}tick();{% endif %}run()});
addEventListener('pagehide',stop);
addEventListener('pageshow',e=>e.persisted&&!paused&&(pull(),run()));
addEventListener('load',()=>setTimeout(()=>{if(paused)set(paused);else run()}));
})()
